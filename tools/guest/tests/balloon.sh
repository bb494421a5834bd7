#!/bin/sh
# Does the host get the balloon's memory, and the guest get it back? Ten times: without its driver
# the balloon is empty, and the guest fills its memory; with it, the guest gives up what the device
# asks for from the start. What the VMM then has in memory the laboratory says.
#
# shellcheck shell=dash

bus=/sys/bus/virtio
rounds=10

fail() {
    grep Mem /proc/meminfo
    echo "VMM-TEST balloon FAIL $*"
    exit 0
}

# kib KEY: of /proc/meminfo.
kib() {
    awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo
}

# at_most KIB: waits until the guest's memory is no more than that.
at_most() {
    tries=0
    until [ "$(kib MemTotal)" -le "$1" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "it still has more than $1 KiB"
        usleep 100000
    done
}

rss() {
    /usr/lib/vmm/ask rss
}

for device in "$bus"/devices/*; do
    [ "$(cat "$device/device")" != 0x0005 ] || balloon=${device##*/}
done
[ -n "${balloon:-}" ] || fail "there is none"
read -r cmdline < /proc/cmdline
size=${cmdline##*vmm.balloon=}
size=$((${size%% *} * 1024))
mkdir /tmp/fill
mount -t tmpfs -o size=64G fill /tmp/fill

round=0
while [ $round -lt $rounds ]; do
    round=$((round + 1))
    echo "$balloon" > $bus/drivers/virtio_balloon/unbind || fail "unbind"
    full=$(kib MemTotal)
    dd if=/dev/zero of=/tmp/fill/data bs=1M count=$(($(kib MemAvailable) / 1024 - 32)) \
        2> /dev/null || fail "round $round: the memory is not all there"
    before=$(rss)
    rm /tmp/fill/data
    echo "$balloon" > $bus/drivers/virtio_balloon/bind || fail "bind"
    at_most $((full - size))
    after=$(rss)
    echo "VMM-NOTE balloon round $round of $((size / 1024)) MiB:" \
        "the VMM has $((before / 1024)) MiB, then $((after / 1024)) MiB"
    [ $((before - after)) -gt $((size * 9 / 10)) ] || fail "round $round: the host got too little"
done
echo "VMM-TEST balloon PASS"
