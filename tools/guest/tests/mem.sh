#!/bin/sh
# Does memory that the guest plugs at the start become its own, in full, and does it keep what is
# written to a third of it? The laboratory says what the VMM then has.
#
# shellcheck shell=dash

fail() {
    grep Mem /proc/meminfo
    echo "VMM-TEST mem FAIL $*"
    exit 0
}

kib() {
    awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo
}

read -r cmdline < /proc/cmdline
plugged=${cmdline##*vmm.plug=}
plugged=$((${plugged%% *} * 1024))
tries=0
until [ "$(kib MemTotal)" -gt $plugged ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "it did not get it"
    usleep 100000
done
before=$(/usr/lib/vmm/ask rss)
mkdir /tmp/fill
mount -t tmpfs -o size=64G fill /tmp/fill
dd if=/dev/urandom of=/tmp/chunk bs=1M count=16 2> /dev/null
sum=$(sha256sum < /tmp/chunk)
chunks=$((plugged / 1024 / 3 / 16)) n=0
while [ $n -lt $chunks ]; do
    cp /tmp/chunk "/tmp/fill/$n" || fail "chunk $n of $chunks"
    n=$((n + 1))
done
after=$(/usr/lib/vmm/ask rss)
# To compare takes longer than to copy, where this is emulated: one in eight.
while [ $n -gt 8 ]; do
    n=$((n - 8))
    cmp /tmp/chunk "/tmp/fill/$n" || fail "chunk $n differs"
done
[ "$(sha256sum < /tmp/chunk)" = "$sum" ] || fail "the first chunk has changed"
echo "VMM-NOTE mem $(($(kib MemTotal) / 1024)) MiB: the VMM has $((before / 1024)) MiB," \
    "with $((chunks * 16)) MiB in use $((after / 1024)) MiB"
[ $((after - before)) -gt $((chunks * 16 * 1024 * 9 / 10)) ] || fail "that is not the memory in use"
echo "VMM-TEST mem PASS"
