#!/bin/sh
# Writes 16 MiB and its checksum to the root disk, for verify to find after another boot.

fail() {
    echo "VMM-TEST write FAIL $*"
    exit 0
}

dd if=/dev/urandom of=/root/data bs=1M count=16 conv=fsync 2> /dev/null || fail "dd"
sha256sum /root/data > /root/data.sha256 || fail "sha256sum"
sync
echo "VMM-TEST write PASS"
