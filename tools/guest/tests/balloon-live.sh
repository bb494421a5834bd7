#!/bin/sh
# Does the balloon follow what the user asks for while the guest runs? Ten times: the guest fills
# its memory and lets it go, the laboratory asks for 80 % of it, and then for nothing.
#
# shellcheck shell=dash

rounds=10

fail() {
    grep Mem /proc/meminfo
    echo "VMM-TEST balloon-live FAIL $*"
    exit 0
}

kib() {
    awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo
}

ask() {
    /usr/lib/vmm/ask "$@"
}

# target MIB KIB: the balloon's new size, and what the guest then has.
target() {
    answer=$(ask balloon "$1")
    [ "$answer" = 204 ] || fail "PATCH /balloon: $answer"
    tries=0
    until [ "$(kib MemTotal)" -le $(($2 + 1024)) ] && [ "$(kib MemTotal)" -ge $(($2 - 1024)) ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "it has not $2 KiB"
        usleep 100000
    done
}

read -r cmdline < /proc/cmdline
size=${cmdline##*vmm.balloon=}
size=${size%% *}
full=$(kib MemTotal) round=0
mkdir /tmp/fill
mount -t tmpfs -o size=64G fill /tmp/fill
while [ $round -lt $rounds ]; do
    round=$((round + 1))
    dd if=/dev/zero of=/tmp/fill/data bs=1M count=$(($(kib MemAvailable) / 1024 - 32)) \
        2> /dev/null || fail "round $round: the memory is not all there"
    before=$(ask rss)
    rm /tmp/fill/data
    target "$size" $((full - size * 1024))
    after=$(ask rss)
    target 0 "$full"
    echo "VMM-NOTE balloon-live round $round of $size MiB:" \
        "the VMM has $((before / 1024)) MiB, then $((after / 1024)) MiB"
    [ $((before - after)) -gt $((size * 1024 * 9 / 10)) ] ||
        fail "round $round: the host got too little"
done
echo "VMM-TEST balloon-live PASS"
