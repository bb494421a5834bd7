#!/bin/sh
# The kernel panics; that it did is for the VMM to say.

sync
mount -o remount,ro /
echo "VMM-TEST panic PASS"
sleep 1
echo c > /proc/sysrq-trigger
sleep 60
