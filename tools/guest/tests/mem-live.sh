#!/bin/sh
# Does the guest's memory grow and shrink as the user asks, while programs use it? It grows in
# steps, a sixth of it is filled, and it shrinks to what it was, while a file is copied and compared
# all the time.
#
# shellcheck shell=dash

fail() {
    grep Mem /proc/meminfo
    dmesg | grep virtio_mem
    echo "VMM-TEST mem-live FAIL $*"
    exit 0
}

kib() {
    awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo
}

ask() {
    /usr/lib/vmm/ask "$@"
}

# target MIB: what is plugged, on top of what was there at first.
target() {
    answer=$(ask mem "$1")
    [ "$answer" = 204 ] || fail "PATCH /hotplug/memory: $answer"
    tries=0 want=$((base + $1 * 1024))
    until [ "$(kib MemTotal)" -ge $((want - 65536)) ] && [ "$(kib MemTotal)" -le $want ]; do
        tries=$((tries + 1))
        [ $((tries % 50)) -ne 0 ] || says "on the way to $1 MiB plugged"
        [ $tries -lt 1200 ] || fail "it has not $want KiB"
        usleep 100000
    done
    echo "VMM-NOTE mem-live $(says "$1 MiB plugged")"
}

# says WORDS: what there is, when.
says() {
    echo "$* at $(cut -d ' ' -f 1 /proc/uptime) s: MemTotal $(($(kib MemTotal) / 1024)) MiB," \
        "the VMM has $(($(ask rss) / 1024)) MiB"
}

load() {
    while [ -e /tmp/loaded ]; do
        cp /tmp/piece /tmp/copy
        cmp /tmp/piece /tmp/copy || echo differs > /tmp/broken
        echo >> /tmp/loads
        usleep 100000
    done
}

read -r cmdline < /proc/cmdline
most=${cmdline##*vmm.plug=}
most=${most%% *}
base=$(kib MemTotal)
dd if=/dev/urandom of=/tmp/chunk bs=1M count=16 2> /dev/null
head -c 65536 /tmp/chunk > /tmp/piece
touch /tmp/loaded /tmp/loads
load &
mkdir /tmp/fill
mount -t tmpfs -o size=64G fill /tmp/fill
target $((most / 3))
target "$most"
n=0 chunks=$((most / 6 / 16))
while [ $n -lt $chunks ]; do
    cp /tmp/chunk "/tmp/fill/$n" || fail "chunk $n of $chunks"
    n=$((n + 1))
done
full=$(ask rss)
# To compare takes longer than to copy, where this is emulated: one in eight.
while [ $n -gt 8 ]; do
    n=$((n - 8))
    cmp /tmp/chunk "/tmp/fill/$n" || fail "chunk $n differs"
done
rm /tmp/fill/*
echo "VMM-NOTE mem-live $((chunks * 16)) MiB filled: the VMM has $((full / 1024)) MiB"
target $((most / 3))
target 0
rm /tmp/loaded
wait
left=$(ask rss)
[ ! -e /tmp/broken ] || fail "a copy differed"
[ $((full - left)) -gt $((chunks * 16 * 1024 * 9 / 10)) ] || fail "the host got too little"
echo "VMM-NOTE mem-live $(wc -l < /tmp/loads) copies of 64 KiB meanwhile, all of them right"
echo "VMM-TEST mem-live PASS"
