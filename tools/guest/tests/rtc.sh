#!/bin/sh
# Does the clock that the machine has show the laboratory's time? That is the CMOS clock, and the
# virtio one too where the kernel has a driver.
#
# shellcheck shell=dash

fail() {
    echo "VMM-TEST rtc FAIL $*"
    exit 0
}

seen=''
for rtc in /sys/class/rtc/rtc*; do
    name=$(cat "$rtc/name")
    host=$(/usr/lib/vmm/ask date)
    guest=$(cat "$rtc/since_epoch") || fail "$name cannot be read"
    echo "VMM-NOTE rtc ${rtc##*/}, $name: $guest, and the laboratory has $host"
    [ $((guest - host)) -ge -2 ] || fail "$name is slow"
    [ $((guest - host)) -le 3 ] || fail "$name is fast"
    seen="$seen $name"
done
case $seen in
*rtc_cmos*) ;;
*) fail "there is no CMOS clock, only$seen" ;;
esac
hwclock -r -u -f /dev/rtc0 || fail "hwclock"
case $seen in
*virtio*) ;;
*) echo "VMM-SKIP rtc Linux $(uname -r) has no driver for virtio" ;;
esac
echo "VMM-TEST rtc PASS"
