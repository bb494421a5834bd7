#!/bin/sh
# Does the host get back what a file system on a disk has given up? The disk's file is sparse: what
# of it is on the host the laboratory says.
#
# shellcheck shell=dash

busybox=/usr/lib/vmm/busybox

fail() {
    echo "VMM-TEST trim FAIL $*"
    exit 0
}

# What the disk's file takes on the host, in KiB.
taken() {
    sync
    /usr/lib/vmm/ask trim
}

for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" != trim ] || name=${disk##*/}
done
[ -n "${name:-}" ] || fail "there is no such disk"
[ "$(cat "/sys/block/$name/queue/discard_max_bytes")" -gt 0 ] || fail "no discard"
[ "$(cat "/sys/block/$name/queue/write_zeroes_max_bytes")" -gt 0 ] || fail "no write zeroes"

# By its path: busybox may have one of its own.
/usr/bin/mke2fs -q -t ext4 "/dev/$name" || fail "mke2fs"
mkdir -p /tmp/trim
mount -t ext4 "/dev/$name" /tmp/trim || fail "mount"
empty=$(taken)
dd if=/dev/urandom of=/tmp/trim/keep bs=1M count=4 2> /dev/null || fail "dd"
dd if=/dev/urandom of=/tmp/trim/data bs=1M count=32 2> /dev/null || fail "dd"
sum=$(sha256sum < /tmp/trim/keep)
full=$(taken)
rm /tmp/trim/data
sync
$busybox fstrim /tmp/trim || fail "fstrim"
after=$(taken)
umount /tmp/trim || fail "umount"
echo "VMM-NOTE trim the file takes $empty KiB, with 36 MiB in it $full KiB, trimmed $after KiB"
[ "$full" -ge $((empty + 36 * 1024)) ] || fail "the file did not grow"
[ "$after" -le $((empty + 6 * 1024)) ] || fail "the host did not get it back"

/usr/bin/e2fsck -fn "/dev/$name" || fail "e2fsck"
mount -t ext4 "/dev/$name" /tmp/trim || fail "mount again"
[ "$(sha256sum < /tmp/trim/keep)" = "$sum" ] || fail "what was not given up is another"
umount /tmp/trim
echo "VMM-TEST trim PASS"
