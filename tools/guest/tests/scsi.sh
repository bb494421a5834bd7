#!/bin/sh
# Does Linux use a SCSI disk and a CD? What it says of them, a disk that keeps what eight processes
# write to it in random order, a file system that keeps what is written, gives back what is deleted
# and is clean afterwards, and the disc as it was made.

busybox=/usr/lib/vmm/busybox

fail() {
    echo "VMM-TEST scsi FAIL $*"
    exit 0
}

# is FILE TEXT: a fact of sysfs.
is() {
    echo "$1: $(cat "$1")"
    [ "$(sed 's/ *$//' "$1")" = "$2" ] || fail "$1 is not $2"
}

tries=0
until [ -b /dev/sda ] && [ -b /dev/sr0 ]; do # the host is scanned meanwhile
    tries=$((tries + 1))
    [ $tries -le 1000 ] || fail "no sda or no sr0"
    usleep 10000
done

is /sys/block/sda/device/vendor VMM
is /sys/block/sda/device/model VIRTUAL-DISK
is /sys/block/sda/device/type 0
is /sys/block/sda/size 131072
is /sys/block/sda/ro 0
is /sys/block/sda/queue/physical_block_size 4096
is /sys/block/sda/queue/rotational 0
is /sys/block/sda/queue/write_cache "write back"
is /sys/block/sda/queue/fua 1
[ "$(cat /sys/block/sda/queue/discard_max_bytes)" -gt 0 ] || fail "no discard"
is /sys/block/sr0/device/model VIRTUAL-CD
is /sys/block/sr0/device/type 5
is /sys/block/sr0/size 4096

begin=$(cut -d . -f 1 /proc/uptime)
/usr/lib/vmm/disk-verify /dev/sda 64 2 || fail "what was written"
echo "VMM-NOTE scsi 64 MiB written and read, twice, in $(($(cut -d . -f 1 /proc/uptime) - begin)) s"
mke2fs -q -t ext4 /dev/sda || fail "mke2fs"
mkdir -p /tmp/scsi
mount -t ext4 /dev/sda /tmp/scsi || fail "mount"
dd if=/dev/urandom of=/tmp/scsi/data bs=1M count=16 conv=fsync 2> /dev/null || fail "dd"
sum=$(sha256sum < /tmp/scsi/data)
umount /tmp/scsi || fail "umount"
mount -t ext4 /dev/sda /tmp/scsi || fail "mount again"
[ "$(sha256sum < /tmp/scsi/data)" = "$sum" ] || fail "not what was written"
rm /tmp/scsi/data
sync
$busybox fstrim /tmp/scsi || fail "fstrim"
umount /tmp/scsi || fail "umount again"
e2fsck -fn /dev/sda || fail "e2fsck"

yes vmm | head -c 2097152 | cmp - /dev/sr0 || fail "the disc is another"
dmesg | grep -E 'sd |sr |scsi'
echo "VMM-TEST scsi PASS"
