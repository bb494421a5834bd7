#!/bin/sh
# Does the machine come back after a reboot? The first time this reboots, the second time it passes.
# The mark is on the disk: what was synced must have survived.

if [ -e /root/rebooted ]; then
    rm /root/rebooted
    echo "VMM-TEST reboot PASS"
else
    touch /root/rebooted
    sync
    mount -o remount,ro /
    reboot -f
    sleep 60
    echo "VMM-TEST reboot FAIL the machine did not reset"
fi
