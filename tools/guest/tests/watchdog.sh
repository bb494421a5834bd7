#!/bin/sh
# Does the watchdog bite? The first time it is started and not fed, so that the machine is reset; the
# second time the driver must say that this was why. The mark is on the disk.
#
# shellcheck shell=dash

dog=/sys/class/watchdog/watchdog0
card_reset=$((0x20)) # WDIOF_CARDRESET, linux/watchdog.h

fail() {
    echo "VMM-TEST watchdog FAIL $*"
    exit 0
}

[ -c /dev/watchdog ] || fail "there is none"
grep -i i6300esb "$dog/identity" || fail "$(cat "$dog/identity")"
status=$(cat "$dog/bootstatus")
if [ -e /root/bitten ]; then
    rm /root/bitten
    [ $((status & card_reset)) -ne 0 ] || fail "status $status after a reset by the watchdog"
    echo "VMM-TEST watchdog PASS"
else
    [ "$status" -eq 0 ] || fail "status $status at first"
    touch /root/bitten
    sync
    mount -o remount,ro /
    echo > /dev/watchdog
    sleep 60
    fail "it has not bitten"
fi
