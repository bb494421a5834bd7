#!/bin/sh
# Is the root file system on persistent memory, mapped without a page cache (DAX)? A program that
# maps what it wrote must find it there. Another boot has "verify" after "write".
#
# shellcheck shell=dash

fail() {
    dmesg | grep -i -E 'pmem|dax|nd_'
    echo "VMM-TEST pmem FAIL $*"
    exit 0
}

root=$(awk '$5 == "/" { line = $3 " " $6 " " $NF } END { print line }' /proc/self/mountinfo)
echo "VMM-NOTE pmem root: $root"
case $root in
"$(cat /sys/block/pmem0/dev) rw"*dax=always*) ;;
*) fail "the root is not pmem0, with dax: $root" ;;
esac
[ "$(cat /sys/block/pmem0/queue/dax)" = 1 ] || fail "pmem0 has no DAX"
[ "$(cat /sys/block/pmem0/queue/write_cache)" = "write back" ] || fail "nothing is ever flushed"
before=$(awk '$1 == "Cached:" { print $2 }' /proc/meminfo)
dd if=/dev/zero of=/root/zeroes bs=1M count=64 conv=fsync 2> /dev/null || fail "dd"
grown=$(($(awk '$1 == "Cached:" { print $2 }' /proc/meminfo) - before))
rm /root/zeroes
echo "VMM-NOTE pmem 64 MiB written: the page cache grew by $grown KiB"
[ $grown -lt 8192 ] || fail "that went to the page cache"
echo "VMM-TEST pmem PASS"
