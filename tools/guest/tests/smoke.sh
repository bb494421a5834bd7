#!/bin/sh
# Is everything there that the machine should have: the root disk, the console, the entropy
# device, processors and memory? The whole kernel log follows for the host to judge.

fail() {
    echo "VMM-TEST smoke FAIL $*"
    exit 0
}

root=$(awk '$5 == "/" { line = $3 " " $6 } END { print line }' /proc/self/mountinfo)
echo "root: $root"
echo "cmdline: $(cat /proc/cmdline)"
echo "cpus: $(nproc)"
grep MemTotal /proc/meminfo
echo VMM-DMESG-BEGIN
dmesg
echo VMM-DMESG-END

case $root in
"$(cat /sys/block/vda/dev) rw"*) ;;
*) fail "the root is not vda, writable" ;;
esac

[ -c /dev/hvc0 ] || fail "no /dev/hvc0"
echo "written to /dev/hvc0" > /dev/hvc0 || fail "cannot write to /dev/hvc0"

rng=$(cat /sys/class/misc/hw_random/rng_current)
echo "rng: $rng"
case $rng in
virtio_rng*) ;;
*) fail "the current hardware generator is '$rng'" ;;
esac
bytes=$(dd if=/dev/hwrng bs=64 count=1 iflag=fullblock 2> /dev/null | wc -c)
[ "$bytes" -eq 64 ] || fail "/dev/hwrng gave $bytes of 64 bytes"

echo "VMM-TEST smoke PASS"
