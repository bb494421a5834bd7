#!/bin/bash
# What a start costs is judged by what it asks the kernel for, which does not depend on the host's
# speed: each call to KVM, each thread, ring and shared library, until a vCPU first runs.
#
# usage: run.sh VMM GUEST [--no-libraries]   GUEST: any test guest
#
# --no-libraries: they are not looked at, since a sanitizer brings some, and a distribution may not
# have those archives that are linked in where they are. Exit status: 0 as expected; 1 not so, and the difference
# is printed; 77: there is no usable /dev/kvm, or no strace(1) that knows KVM's calls.

set -u
vmm=$1 guest=$2 libraries=${3:-}
work=$(mktemp -d "${TMPDIR:-/tmp}/vmm-start.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
truncate -s 1M disk

# Leaks cannot be looked for in a process that is traced.
ASAN_OPTIONS=detect_leaks=0 timeout 100 strace -f -o trace \
    -e trace=ioctl,clone,clone3,io_uring_setup,openat "$vmm" --kernel "$guest" --mem 128M \
    --disk disk --device rng --on-reboot exit < /dev/null > /dev/null 2> errors
if ! grep -q KVM_RUN trace; then
    echo "SKIP: no /dev/kvm that may be used, or no strace that knows it"
    head -n 3 errors
    exit 77
fi
sed '/KVM_RUN/,$d' trace > start

# A memory slot after the interrupt chips costs a grace period of the kernel's.
{
    grep -oE 'ioctl\([0-9]+, KVM_[A-Z0-9_]+|clone3?\(|io_uring_setup' start |
        sed 's/.*, //; s/clone3*(/a thread/; s/io_uring_setup/a ring/'
    [[ -n $libraries ]] || grep -oE 'lib[a-z0-9_.-]+\.so[.0-9]*' start
    sed -n '/KVM_CREATE_IRQCHIP/,$p' start | grep -o KVM_SET_USER_MEMORY_REGION | sed 's/$/ too late/'
} | LC_ALL=C sort | uniq -c | sed 's/^ *//' > found

{
    cat << 'END_OF_LIST'
1 KVM_CREATE_IRQCHIP
1 KVM_CREATE_VCPU
1 KVM_CREATE_VM
1 KVM_GET_API_VERSION
1 KVM_GET_LAPIC
1 KVM_GET_SREGS
1 KVM_GET_SUPPORTED_CPUID
1 KVM_GET_VCPU_MMAP_SIZE
1 KVM_SET_CPUID2
1 KVM_SET_IDENTITY_MAP_ADDR
1 KVM_SET_LAPIC
1 KVM_SET_MP_STATE
1 KVM_SET_MSRS
1 KVM_SET_REGS
1 KVM_SET_SREGS
1 KVM_SET_TSS_ADDR
1 KVM_SET_USER_MEMORY_REGION
10 KVM_CHECK_EXTENSION
2 KVM_IRQFD
1 a ring
2 a thread
END_OF_LIST
    [[ -n $libraries ]] || echo "1 libc.so.6"
} | LC_ALL=C sort -k 2 > expected

LC_ALL=C sort -k 2 found | diff -U 0 expected - > difference && exit 0
echo "FAIL: a start asks for other things than it did (-: expected, +: found):"
tail -n +3 difference
exit 1
