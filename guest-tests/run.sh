#!/bin/sh
# Runs test guests under the VMM and judges what they did: the exit status, the last line, and what
# only the host's side can see.
#
# usage: run.sh VMM DIR [CASE...]   DIR: where the NAME.guest files are; all cases without one
#        run.sh --list              the names of the cases
#
# Prints PASS, FAIL or SKIP for each case, and for a failed one all that was said. Exit status: 0
# all passed; 1 one failed; 2 wrong usage; 77 none ran, because there is no usable /dev/kvm, or
# nowhere to run it. A plain sh and busybox are enough, so it also runs in the laboratory:
#
#   tools/lab $(printf -- '--put %s ' build/vmm build/guest-tests/*.guest guest-tests/run.sh) \
#       -- sh run.sh /lab/vmm /lab

set -u
cases='ports mmio blk blk-direct blk-2cpus console memory-mmio memory-pci memory-ro memory-touched
smp reboot reboot-2cpus exit-acpi exit-i8042 exit-syscon off-syscon crash-panic crash-triple-fault
hostile-pci-split hostile-pci-packed hostile-pci-modern-face hostile-pci-legacy-face
hostile-pci-legacy hostile-mmio-split hostile-mmio-packed hostile-mmio-legacy
hostile-rng-pci-packed hostile-rng-pci-legacy hostile-rng-mmio-split'
hang=60             # seconds; a guard, not a measurement
sectors=16384       # of the scratch disk: 8 MiB
log_most=200        # lines that the VMM may say about a guest that does everything wrong

if [ "${1:-}" = --list ]; then
    # shellcheck disable=SC2086 # words they are
    printf '%s\n' $cases
    exit 0
fi
if [ $# -lt 2 ] || [ ! -x "$1" ] || [ ! -d "$2" ]; then
    echo "usage: run.sh VMM DIR [CASE...], or run.sh --list" >&2
    exit 2
fi
vmm=$1 dir=$2
shift 2
# shellcheck disable=SC2086 # as above
[ $# -gt 0 ] || set -- $cases

why=
if [ ! -c /dev/kvm ]; then
    why='this host has no /dev/kvm'
elif ! (exec 3<> /dev/kvm) 2> /dev/null; then
    why='/dev/kvm may not be opened here'
fi
if [ -n "$why" ]; then
    for name in "$@"; do
        echo "SKIP $name: $why"
    done
    exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/vmm-guest.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
disk=$work/disk out=$work/out err=$work/err

make_disk() {
    rm -f "$disk"
    truncate -s $((sectors * 512)) "$disk" &&
        printf 'from the host' | dd of="$disk" conv=notrunc 2> /dev/null
}

# boot GUEST STATUS [OPTION...]: runs it and adds to `faults` what is wrong. What is typed comes
# through `typed`, words for the guest through `words`, how it reaches devices through `transport`.
boot() {
    guest=$1 want=$2
    shift 2
    make_disk || faults="$faults; no scratch disk"
    printf '%s' "$typed" | timeout -k 5 "$hang" "$vmm" --kernel "$dir/$guest.guest" --mem 128M \
        --discovery cmdline --transport "$transport" \
        --cmdline "sectors=$sectors now=$(date +%s) $words" "$@" > "$out" 2> "$err"
    status=$?
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        faults="$faults; hangs: not done in $hang s"
    elif [ "$status" -ne "$want" ]; then
        faults="$faults; exit status $status, not $want"
    fi
    if grep -q '^failed: ' "$out"; then # a guest that restarts counts anew
        faults="$faults; failed checks"
    fi
    if grep -q 'Sanitizer\|runtime error' "$err"; then
        faults="$faults; a sanitizer's report"
    fi
    if [ "$guest" != hostile ] && [ "$want" -ne 3 ] && [ -s "$err" ]; then
        faults="$faults; messages, though nothing is wrong"
    fi
    if [ "$(wc -l < "$err")" -gt $log_most ]; then
        faults="$faults; $(wc -l < "$err") lines of messages"
    fi
}

last_line_begins() {
    case $(tail -n 1 "$out") in
    "$1"*) ;;
    *) faults="$faults; the last line does not begin with \"$1\"" ;;
    esac
}

has_line() {
    grep -qxF "$1" "$out" || faults="$faults; no line \"$1\""
}

says_why() {
    grep -q "$1" "$err" || faults="$faults; no message about \"$1\""
}

# The guest wrote its text and flushed it.
disk_holds_answer() {
    answer=$(tail -c 512 "$disk" | head -c 14)
    [ "$answer" = 'from the guest' ] || faults="$faults; the disk's last sector lacks the text"
}

# memory NAME: a file and memory to be plugged; read only; or until the guest touches what is not
# there.
memory() {
    status=0
    [ "$1" = memory-mmio ] || transport=pci
    set -- "$1" --device "pmem,$work/pmem" --device mem,256M,requested=6M
    case $1 in
    memory-pci) set -- "$1" --device "pmem,$work/pmem,shm" --device mem,256M,requested=6M ;;
    memory-ro) set -- "$1" --device "pmem,$work/pmem,ro" && words=how=ro ;;
    memory-touched)
        set -- "$1" --device "pmem,$work/pmem,shm" --device mem,256M,requested=6M
        words=how=touch
        # Where KVM emulates instructions, the emulator finds nothing there and asks us.
        "$vmm" --check-host 2>&1 | grep -q 'PVM-backed' || status=3
        ;;
    esac
    rm -f "$work/pmem"
    truncate -s 4M "$work/pmem" && printf 'from the host' | dd of="$work/pmem" conv=notrunc 2> /dev/null
    name=$1
    shift
    boot memory $status "$@"
    answer=$(dd if="$work/pmem" bs=4096 skip=1 count=1 2> /dev/null | head -c 14)
    case $name in
    memory-ro) [ -z "$answer" ] || faults="$faults; the file was written" ;;
    *) [ "$answer" = 'from the guest' ] || faults="$faults; the file lacks the text" ;;
    esac
    if [ $status -eq 3 ]; then
        last_line_begins 'memory: now it is touched'
        says_why 'touched memory that is not there'
    else
        last_line_begins 'guest-test memory PASS '
    fi
}

# hostile NAME: attacks a device, by what its name says: hostile-[rng-]pci|mmio-..., with a split
# ring unless it says packed; a face is one of a transitional device.
hostile() {
    keys='' target=blk
    case $1 in
    *-rng-*) target=rng ;;
    esac
    case $1 in
    *-face) transport=pci-transitional ;;
    *-pci-legacy) transport=pci-legacy ;;
    *-mmio-legacy) transport=mmio-legacy ;;
    *-pci-*) transport=pci ;;
    esac
    case $1 in
    *-rng-*-packed) keys=,packed=on,in_order=on,notification_data=on ;;
    *-packed) keys=,packed=on ;;
    *-mmio-split) keys=,queue_size=32768 ;;
    *-modern-face) keys=,in_order=on ;;
    *-legacy-face) words=face=legacy ;;
    esac
    words="$words target=$target ram=128M"
    if [ $target = rng ]; then
        boot hostile 0 --disk "$disk" --device "rng$keys"
    else
        boot hostile 0 --disk "$disk$keys"
    fi
    last_line_begins 'guest-test hostile PASS '
    summary=$(sed -n 's/^hostile: .* attacks in \([0-9]*\) cases: .*/\1/p' "$out")
    lines=$(grep -c '^case [^ ]* [^ ]* [^ ]*: \(PASS\|REJECT\) ' "$out")
    [ "$summary" = "$lines" ] || faults="$faults; $lines cases, and the guest counts \"$summary\""
}

run_case() {
    typed='' words='' faults='' transport=mmio
    case $1 in
    ports)
        boot ports 0
        has_line 'ports: a line by rep outsb'
        last_line_begins 'guest-test ports PASS '
        ;;
    mmio)
        boot mmio 0 --disk "$disk"
        last_line_begins 'guest-test mmio PASS '
        ;;
    blk | blk-direct | blk-2cpus)
        key='' cpus=1
        if [ "$1" = blk-direct ]; then
            key=,direct
            make_disk
            if ! dd if="$disk" of=/dev/null bs=4096 count=1 iflag=direct 2> /dev/null; then
                echo "SKIP $1: dd cannot read $disk with direct I/O"
                skipped=$((skipped + 1))
                return
            fi
        fi
        [ "$1" != blk-2cpus ] || cpus=2
        boot blk 0 --disk "$disk,serial=scratch$key" --cpus $cpus
        last_line_begins 'guest-test blk PASS '
        disk_holds_answer
        ;;
    console)
        typed=typed-by-the-host words=typed=typed-by-the-host
        boot console 0
        has_line 'console: emergency'
        has_line 'console: one line through the transmit queue'
        has_line 'console: a line in five segments'
        got=$(sed -n 's/^console: buffer \(.\)$/\1/p' "$out" | tr -d '\n')
        [ "$got" = abcdefghijklmnop ] || faults="$faults; buffers came as \"$got\""
        last_line_begins 'guest-test console PASS '
        ;;
    memory-*)
        memory "$1"
        ;;
    smp)
        boot smp 0 --cpus 2
        last_line_begins 'guest-test smp PASS '
        ;;
    reboot | reboot-2cpus)
        words='how=restart cpus=1'
        [ "$1" = reboot ] || words='how=restart cpus=2'
        boot reboot 0 --disk "$disk" --cpus "${words##*=}" --on-reboot restart
        for life in 0 1 2 3; do
            has_line "reboot: life $life"
        done
        last_line_begins 'guest-test reboot PASS '
        ;;
    exit-*)
        words=how=${1#exit-}
        boot reboot 0 --on-reboot exit
        last_line_begins "guest-test reboot ENDS by ${1#exit-}"
        ;;
    off-syscon)
        words=how=syscon-off
        boot reboot 0
        last_line_begins 'guest-test reboot ENDS by syscon-off'
        ;;
    crash-*)
        words=how=${1#crash-}
        boot reboot 3
        last_line_begins "guest-test reboot ENDS by ${1#crash-}"
        says_why "$(echo "${1#crash-}" | tr - ' ')"
        ;;
    hostile-*)
        hostile "$1"
        ;;
    *)
        echo "run.sh: no such case: $1" >&2
        exit 2
        ;;
    esac
    if [ -z "$faults" ]; then
        echo "PASS $1: $(tail -n 1 "$out")"
        grep '^skipped: \|^hostile: .* attacks\|^case ' "$out"
        return
    fi
    failed=$((failed + 1))
    echo "FAIL $1: ${faults#; }"
    sed 's/^/  guest: /' "$out"
    sed 's/^/  vmm: /' "$err"
}

failed=0 skipped=0
for name in "$@"; do
    run_case "$name"
done
[ "$failed" -eq 0 ] || exit 1
[ "$skipped" -lt $# ] || exit 77
