#!/bin/sh
# Checks what write left on the root disk, read from the disk itself.

fail() {
    echo "VMM-TEST verify FAIL $*"
    exit 0
}

[ -s /root/data.sha256 ] || fail "write was not run on this disk"
echo 3 > /proc/sys/vm/drop_caches || fail "cannot drop the caches"
sha256sum -c /root/data.sha256 || fail "the checksum differs"
echo "VMM-TEST verify PASS"
