#!/bin/sh
# A shared folder of a VMM that is an ordinary user (tools/boot-test --jail), whose files are root's in
# here: everybody may read what the host's root has put there, nobody may write it.

fail() {
    echo "VMM-TEST fs-user FAIL $*"
    umount /mnt
    exit 0
}

mount -t virtiofs shared /mnt || fail "mount"
(cd /mnt/from-host && sha256sum -c sums > /dev/null) || fail "what the host has written"
! (echo more >> /mnt/from-host/sums) 2> /dev/null || fail "a file of root's was written"
! mkdir /mnt/from-host/here 2> /dev/null || fail "a folder of root's was written"
! chown 1 /mnt 2> /dev/null || fail "the folder was given away"
[ "$(stat -c %u /mnt)" = 0 ] || fail "the folder is of $(stat -c %u /mnt)"
[ "$(stat -c %u /mnt/from-host)" = 65534 ] || fail "from-host is of $(stat -c %u /mnt/from-host)"

dd if=/dev/urandom of=/mnt/file bs=1M count=4 conv=fsync 2> /dev/null || fail "dd"
sha256sum < /mnt/file > /tmp/sum
mkdir /mnt/made || fail "mkdir"
mv /mnt/file /mnt/made/file || fail "mv"
[ "$(stat -c '%u %s' /mnt/made/file)" = "0 4194304" ] || fail "$(stat -c '%u %s' /mnt/made/file)"
umount /mnt || fail "umount"
mount -t virtiofs shared /mnt || fail "mount again"
sha256sum < /mnt/made/file | cmp - /tmp/sum || fail "the file is another after a mount"
umount /mnt || fail "umount again"
echo "VMM-TEST fs-user PASS"
