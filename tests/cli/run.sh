#!/bin/bash
# Tests the built program as its user meets it: every wrong command line and every bad file must
# end in one line on standard error that names the thing, with the documented exit status, a
# terminal as it was before, and no sanitizer's report.
#
# usage: run.sh VMM [CASE...]   CASE: a shell pattern of names; all without one
#
# VMM_TEST_KERNEL names a bzImage to cut into pieces; without it a tiny one is made. Prints PASS,
# FAIL or SKIP for each case and ends with the sums; status 1 if any failed.

set -u
here=$(cd "$(dirname "$0")" && pwd)
if [[ $# -lt 1 || ! -x $1 || -d $1 ]]; then
    echo "usage: run.sh VMM [CASE...]: ${1:-VMM} is no program" >&2
    exit 2
fi
vmm=$(realpath "$1")
shift
only=("${@:-*}")
python=$(python3 -c 'import sys; print(sys.executable)') || exit 1

work=$(mktemp -d "${TMPDIR:-/tmp}/vmm-cli.XXXXXXXX") || exit 1
out=$work/out
locker=
passed=0 failed=0 skipped=0 slowest=0 slowest_name=-

unlock() {
    [[ -n $locker ]] && kill "$locker" 2>/dev/null && wait "$locker" 2>/dev/null
    locker=
}
cleanup() {
    unlock
    chmod -R u+rwX "$work" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

pass() {
    echo "PASS $1"
    passed=$((passed + 1))
}
fail() {
    echo "FAIL $1: $2"
    failed=$((failed + 1))
}
skip() {
    wanted "$1" || return 0
    echo "SKIP $1: $2"
    skipped=$((skipped + 1))
}
wanted() {
    local pattern
    for pattern in "${only[@]}"; do
        # shellcheck disable=SC2053  # a pattern it is
        [[ $1 == $pattern ]] && return 0
    done
    return 1
}

# run [OPTION OF tty.py]... COMMAND...: leaves its traces in $out, and in these three.
run() {
    local options=()
    while [[ $1 == --* ]]; do
        case $1 in
        --type | --kill) options+=("$1" "$2") && shift ;;
        *) options+=("$1") ;;
        esac
        shift
    done
    "$python" "$here/tty.py" "${options[@]}" "$out" "$@"
    status=$(<"$out/status")
    lines=$(grep -c '' "$out/stderr")
    message=$(head -c 240 "$out/stderr" | tr '\n\r' '| ')
}

# common NAME: what must hold after every run; says so and returns 1 if it does not.
common() {
    local ms
    ms=$(<"$out/ms")
    if [[ $ms -gt $slowest ]]; then
        slowest=$ms slowest_name=$1
    fi
    if [[ $status == hang ]]; then
        fail "$1" "still running after 5 s"
    elif grep -qE 'Sanitizer|runtime error:' "$out/stderr" "$out/stdout"; then
        fail "$1" "a sanitizer's report: $message"
    elif [[ $(<"$out/acted") == no ]]; then
        fail "$1" "ended before its terminal was in raw mode: $status $message"
    elif [[ $(<"$out/terminal") != intact ]]; then
        fail "$1" "terminal changed: $(<"$out/terminal")"
    else
        return 0
    fi
    return 1
}

# bad NAME STATUS NOUN COMMAND...: STATUS is a pattern such as [12], NOUN an extended regular
# expression.
bad() {
    local name=$1 expected=$2 noun=$3
    shift 3
    wanted "$name" || return 0
    run "$@"
    if [[ $kvm == no && $status == 1 && $message == */dev/kvm* && $noun != */dev/kvm* ]]; then
        skip "$name" "/dev/kvm cannot be used here"
        return
    fi
    common "$name" || return
    # shellcheck disable=SC2053  # a pattern it is
    if [[ $status != $expected ]]; then
        fail "$name" "exit status $status, not $expected: $message"
    elif [[ $lines -ne 1 ]]; then
        fail "$name" "$lines lines on standard error: $message"
    elif ! grep -qiE -e "$noun" "$out/stderr"; then
        fail "$name" "\"$noun\" is not in: $message"
    else
        pass "$name"
    fi
}

# ends NAME STATUS COMMAND...: a run that is as it should be; STATUS as above.
ends() {
    local name=$1 expected=$2
    shift 2
    wanted "$name" || return 0
    if [[ $kvm == no ]]; then
        skip "$name" "/dev/kvm cannot be used here"
        return
    fi
    run "$@"
    common "$name" || return
    # shellcheck disable=SC2053  # a pattern it is
    if [[ $status != $expected ]]; then
        fail "$name" "exit status $status, not $expected: $message"
    else
        pass "$name"
    fi
}

# tells NAME PATTERN COMMAND...: prints something on standard output, and nothing else.
tells() {
    local name=$1 pattern=$2
    shift 2
    wanted "$name" || return 0
    run "$@"
    common "$name" || return
    if [[ $status != 0 || $lines -ne 0 ]]; then
        fail "$name" "exit status $status: $message"
    elif ! grep -qE -e "$pattern" "$out/stdout"; then
        fail "$name" "\"$pattern\" is not on standard output"
    else
        pass "$name"
    fi
}

mkdir "$out"
cd "$work" || exit 1
"$python" "$here/files.py" "$work" || exit 1
mkdir directory
mkfifo fifo
truncate -s 1G large-initrd
cp good unreadable
chmod 000 unreadable
cp disk ro-disk
chmod 444 ro-disk
head -c 1024 "${VMM_TEST_KERNEL:-good}" >cut-1k
head -c 65536 "${VMM_TEST_KERNEL:-good}" >cut-64k

# Root may open what it likes, unless it gives that right away.
bare=(setpriv '--bounding-set=-dac_override,-dac_read_search'
    '--inh-caps=-dac_override,-dac_read_search')
deny=()
denied=
if [[ $(id -u) -eq 0 ]]; then
    deny=("${bare[@]}")
    denied=yes
    "${deny[@]}" test ! -r unreadable 2>/dev/null && denied=
    [[ -n $denied ]] && denied="root without setpriv(1) that works may read every file"
fi

# KVM_GET_API_VERSION, as the program would ask.
kvm=yes
"$python" -c 'import fcntl, os; fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE00)' 2>/dev/null ||
    kvm=no

# Each of these ends without a guest, or with one that resets at once: whatever follows fails for
# the reason it is there for.
tells help '^ *--kernel FILE' "$vmm" --help
tells help-man '^\.Sh NAME' "$vmm" --help=man
tells version '^vmm [0-9]' "$vmm" --version
tells device-help '^ *blk ' "$vmm" --device help
tells device-class-help '^ *path=FILE' "$vmm" --device blk,help
quiet=(--console none --on-reboot exit)
ends good-bzimage 0 "$vmm" --kernel good "${quiet[@]}"
ends good-elf 0 "$vmm" --kernel good.elf "${quiet[@]}"
ends good-on-terminal 0 "$vmm" --kernel good --on-reboot exit
ends good-disk 0 "$vmm" --kernel good --disk disk "${quiet[@]}"
ends good-initrd 0 "$vmm" --kernel good --initrd disk --mem 64M "${quiet[@]}"
ends guest-triple-fault 3 "$vmm" --kernel triple "${quiet[@]}"
ends keys-quit 0 --type '\x01x' "$vmm" --kernel spin
ends keys-quit-from-reboots 0 --type '\x01x' "$vmm" --kernel good
ends signal-term '*' --kill TERM "$vmm" --kernel spin
ends signal-hup '*' --kill HUP "$vmm" --kernel spin

# Help for nobody: dying of SIGPIPE is as good as saying so.
if wanted help-closed-pipe; then
    run --closed-stdout "$vmm" --help
    if common help-closed-pipe; then
        if [[ ($status == "signal 13" && $lines -eq 0) || ($status == 1 && $lines -eq 1) ]]; then
            pass help-closed-pipe
        else
            fail help-closed-pipe "exit status $status: $message"
        fi
    fi
fi
bad help-full-disk 1 'standard output|stdout' --full-stdout "$vmm" --help

# The kernel.
bad kernel-none 2 'kernel' "$vmm"
bad api-sock-exists 2 'api-sock empty.*already' "$vmm" --api-sock empty
bad api-sock-nowhere 2 'api-sock nowhere/s.*no such file' "$vmm" --api-sock nowhere/s
bad api-sock-long 2 'at most 107 bytes' "$vmm" --api-sock "$(printf '%0108d' 0)"
bad api-sock-none 2 'api-sock.*missing' "$vmm" --api-sock
bad api-sock-dtb 2 'api-sock.*contradict' "$vmm" --api-sock s --dump-dtb d
bad config-file-missing 2 'config-file nowhere/c.*no such file' "$vmm" --config-file nowhere/c
bad config-file-directory 2 'config-file directory.*regular' "$vmm" --config-file directory
bad config-file-fifo 2 'config-file fifo.*regular' "$vmm" --config-file fifo
bad config-file-empty 2 'config-file empty: line 1' "$vmm" --config-file empty
bad config-file-random 2 'config-file random: line' "$vmm" --config-file random
bad config-file-and-kernel 2 'config-file.*kernel.*contradict' "$vmm" --config-file empty --kernel good
printf '{"boot-source": {"kernel_image_path": "nowhere/kernel"}}' > boots-nothing
bad config-file-no-kernel 2 'nowhere/kernel.*no such file' "$vmm" --config-file boots-nothing
bad config-file-device-id 2 'id=x.*disk a' "$vmm" --kernel good --disk a,id=x --disk b,id=x
printf '{"boot-source": {"kernel_image_path": "good"}, "drives": [{"drive_id": "a"}]}' > half
bad config-file-half 2 'half: drives/a: path_on_host is missing' "$vmm" --config-file half
bad kernel-missing 2 'nowhere/kernel.*no such file' "$vmm" --kernel nowhere/kernel
bad kernel-empty 2 'empty' "$vmm" --kernel empty
bad kernel-directory 2 'kernel directory' "$vmm" --kernel directory
bad kernel-fifo 2 'fifo' "$vmm" --kernel fifo
bad kernel-device 2 '/dev/null' "$vmm" --kernel /dev/null
if [[ -z $denied ]]; then
    bad kernel-unreadable 2 'unreadable.*permission' "${deny[@]}" "$vmm" --kernel unreadable
else
    skip kernel-unreadable "$denied"
fi
bad kernel-1k 2 'cut-1k.*truncated' "$vmm" --kernel cut-1k
bad kernel-64k 2 'cut-64k.*truncated' "$vmm" --kernel cut-64k
bad kernel-random 2 'kernel random' "$vmm" --kernel random
bad kernel-text 2 'kernel text' "$vmm" --kernel text
bad kernel-old-protocol 2 'kernel old.*2\.05' "$vmm" --kernel old
bad kernel-not-64-bit 2 'kernel no-64' "$vmm" --kernel no-64
bad kernel-larger-than-ram 2 'kernel huge.*RAM' "$vmm" --kernel huge --mem 128M
bad kernel-newline-in-name 2 'kernel no.such' "$vmm" --kernel $'no\nsuch'
bad elf-other-machine 2 'machine\.elf.*183' "$vmm" --kernel machine.elf
bad elf-32-bit 2 '32\.elf.*32-bit' "$vmm" --kernel 32.elf
bad elf-segment-beyond-ram 2 'beyond\.elf.*RAM' "$vmm" --kernel beyond.elf --mem 512M
bad elf-segment-wraps 2 'wraps\.elf' "$vmm" --kernel wraps.elf
bad elf-segment-low 2 'low\.elf' "$vmm" --kernel low.elf
bad elf-headers-outside 2 'headers\.elf.*truncated' "$vmm" --kernel headers.elf
bad elf-no-segments 2 'none\.elf' "$vmm" --kernel none.elf
bad elf-entry-outside 2 'entry\.elf' "$vmm" --kernel entry.elf
bad elf-truncated 2 'cut\.elf.*truncated' "$vmm" --kernel cut.elf

# The initrd and the command line.
bad initrd-missing 2 'initrd nowhere.*no such file' "$vmm" --kernel good --initrd nowhere
bad initrd-directory 2 'initrd directory' "$vmm" --kernel good --initrd directory
bad initrd-empty 2 'initrd empty' "$vmm" --kernel good --initrd empty
bad initrd-fifo 2 'initrd fifo' "$vmm" --kernel good --initrd fifo
bad initrd-larger-than-ram 2 'initrd large-initrd.*RAM' \
    "$vmm" --kernel good --initrd large-initrd --mem 128M
printf -v long '%4000s' ''
bad cmdline-too-long 2 'command line.*4000.*2047' "$vmm" --kernel good --cmdline "${long// /x}"
printf -v long '%70000s' ''
bad cmdline-over-64k 2 'command line.*70000' "$vmm" --kernel good --cmdline "${long// /x}"

# Memory and CPUs.
bad mem-0 2 'mem.* 0 .*16M' "$vmm" --kernel good --mem 0
bad mem-1m 2 'mem.*1M.*16M' "$vmm" --kernel good --mem 1M
bad mem-word 2 'mem.*abc' "$vmm" --kernel good --mem abc
bad mem-65t 2 'mem.*65T' "$vmm" --kernel good --mem 65T
bad mem-overflow 2 'mem.*99999999999999999999G' "$vmm" --kernel good --mem 99999999999999999999G
bad mem-unaligned 2 'mem.*multiple of 1G' "$vmm" --kernel good --mem 700M,hugepages=1G
if wanted mem-beyond-host; then
    run "$vmm" --kernel good --mem 60T "${quiet[@]}"
    if [[ $status == 0 ]]; then
        skip mem-beyond-host "this host gives a guest 60T"
    else
        bad mem-beyond-host '[12]' 'mem|RAM' "$vmm" --kernel good --mem 60T "${quiet[@]}"
    fi
fi
bad cpus-0 2 'cpus.* 0 ' "$vmm" --kernel good --cpus 0
bad cpus-100000 2 'cpus.*100000' "$vmm" --kernel good --cpus 100000
if wanted cpus-beyond-kvm; then
    run "$vmm" --kernel good --cpus 4096 "${quiet[@]}"
    if [[ $status == 0 ]]; then
        skip cpus-beyond-kvm "this KVM takes 4096 CPUs"
    else
        bad cpus-beyond-kvm '[12]' 'cpus' "$vmm" --kernel good --cpus 4096 "${quiet[@]}"
    fi
fi
bad cpus-word 2 'cpus.*two' "$vmm" --kernel good --cpus two

# Disks.
bad disk-missing 2 'nowhere.*no such file' "$vmm" --kernel good --disk nowhere
bad disk-empty 2 'disk empty.*empty' "$vmm" --kernel good --disk empty
bad disk-odd-size 2 'odd-disk.*512' "$vmm" --kernel good --disk odd-disk
bad disk-directory 2 'disk directory' "$vmm" --kernel good --disk directory
bad disk-fifo 2 'disk fifo' "$vmm" --kernel good --disk fifo
bad disk-twice 2 'disk disk.*(lock|use)' "$vmm" --kernel good --disk disk --disk disk
bad disk-second-is-bad 2 'nowhere' "$vmm" --kernel good --disk disk --disk nowhere
bad disk-rate 2 'bps: "10X" is not a rate .*50M' "$vmm" --kernel good --disk disk,bps=10X
bad disk-rate-twice 2 'iops is given twice' "$vmm" --kernel good --disk disk,iops=1,iops=2
bad disk-rate-too-slow 2 'write_iops: 1/90000s is out of range .*24 hours' "$vmm" --kernel good --disk disk,write_iops=1/90000s
bad disk-rate-too-big 2 'read_bps: .* out of range' "$vmm" --kernel good --disk disk,read_bps=8388608T
bad net-rate 2 'rx_pps: .*not a rate' "$vmm" --kernel good --net none,rx_pps=
bad net-rate-of-both 2 'unknown key "bps"' "$vmm" --kernel good --net none,bps=1
ends good-rates 0 "$vmm" --kernel good --disk disk,bps=5M/100ms+1G,iops=100,write_bps=0 \
    --net none,rx_bps=1M,tx_pps=1000/10s "${quiet[@]}"
bad disk-long-serial 2 'serial' "$vmm" --kernel good --disk "disk,serial=123456789012345678901"
if [[ -z $denied ]]; then
    bad disk-read-only-file 2 'ro-disk.*permission' "${deny[@]}" \
        "$vmm" --kernel good --disk ro-disk
    ends disk-read-only-file-ro 0 "${deny[@]}" "$vmm" --kernel good --disk ro-disk,ro "${quiet[@]}"
else
    skip disk-read-only-file "$denied"
fi
hold() { # FILE read|write
    coproc LOCKER { exec "$python" "$here/lock.py" "$1" "$2" 2>/dev/null; }
    locker=$LOCKER_PID
    read -r -t 5 _ <&"${LOCKER[0]}"
}
if hold disk write; then
    bad disk-locked 2 'disk disk.*(lock|use)' "$vmm" --kernel good --disk disk
    unlock
    hold disk read
    bad disk-read-locked 2 'disk disk.*(lock|use)' "$vmm" --kernel good --disk disk
    ends disk-readers-share 0 "$vmm" --kernel good --disk disk,ro "${quiet[@]}"
    unlock
    ends disk-unlocked 0 "$vmm" --kernel good --disk disk "${quiet[@]}"
else
    skip disk-locked "this kernel has no locks of open file descriptions"
fi

# Memory of devices.
bad fs-missing 2 'nowhere' "$vmm" --kernel good --device fs,nowhere,tag=t
bad fs-file 2 'disk' "$vmm" --kernel good --device fs,disk,tag=t
bad fs-no-tag 2 'tag' "$vmm" --kernel good --device fs,directory
bad fs-empty-tag 2 'tag' "$vmm" --kernel good --device fs,directory,tag=
bad fs-long-tag 2 'longer than 36 bytes' "$vmm" --kernel good \
    --device fs,directory,tag=0123456789012345678901234567890123456
bad fs-odd-window 2 'power of two' "$vmm" --kernel good --device fs,directory,tag=t,dax=3M
bad fs-odd-cache 2 'cache' "$vmm" --kernel good --device fs,directory,tag=t,cache=sometimes
bad fs-odd-map 2 'map' "$vmm" --kernel good --device fs,directory,tag=t,uid-map=1:2
ends fs-good 0 "$vmm" --kernel good --device fs,directory,tag=t,dax=4M,cache=always "${quiet[@]}"
ends fs-mmio 0 "$vmm" --kernel good --transport mmio --device fs,directory,tag=t,ro "${quiet[@]}"
bad pmem-missing 2 'pmem nowhere.*no such file' "$vmm" --kernel good --device pmem,nowhere
bad pmem-odd-size 2 'pmem disk.*multiple of 2 MiB' "$vmm" --kernel good --device pmem,disk
bad pmem-directory 2 'pmem directory' "$vmm" --kernel good --device pmem,directory
bad pmem-twice 2 'pmem new-pmem.*in use' "$vmm" --kernel good --device pmem,new-pmem,size=2M \
    --device pmem,new-pmem
ends pmem-good 0 "$vmm" --kernel good --device pmem,new-pmem,size=2M \
    --device pmem,new-pmem-2,size=2M,shm "${quiet[@]}"
ends pmem-ro 0 "$vmm" --kernel good --device pmem,new-pmem,ro "${quiet[@]}"
bad pmem-legacy 2 'pmem.*no legacy interface' "$vmm" --kernel good --device pmem,new-pmem \
    --transport pci-legacy
bad scsi-none 2 'scsi.*no disk' "$vmm" --kernel good --device scsi
bad scsi-missing 2 'disk nowhere.*no such file' "$vmm" --kernel good --device scsi,disk=nowhere
bad scsi-directory 2 'cd directory.*neither' "$vmm" --kernel good --device scsi,cd=directory
bad scsi-target 2 '300:0:disk.*255' "$vmm" --kernel good --device scsi,300:0:disk
bad scsi-lun 2 '0:16384:disk.*16383' "$vmm" --kernel good --device scsi,0:16384:disk
bad scsi-no-file 2 '0:0:.*no file' "$vmm" --kernel good --device scsi,0:0:
bad scsi-alike 2 'unit 1 of target 2.*twice' "$vmm" --kernel good \
    --device scsi,disk=2:1:disk,cd=2:1:large-initrd
bad scsi-same-file 2 'disk disk.*in use' "$vmm" --kernel good --device scsi,disk=disk,disk=disk
ends scsi-good 0 "$vmm" --kernel good --device scsi,disk,cd=0:1:large-initrd,queues=2 "${quiet[@]}"
bad mem-device-no-size 2 'size' "$vmm" --kernel good --device mem
bad mem-device-odd-size 2 'size=511M.*multiple' "$vmm" --kernel good --device mem,511M
bad mem-device-too-much 2 'requested=600M.*512M' "$vmm" --kernel good --device mem,512M,requested=600M
bad mem-device-no-room 2 'mem.*4294967296 MiB' "$vmm" --kernel good --device mem,size=4194304G
ends mem-device-good 0 "$vmm" --kernel good --device mem,512M,requested=256M "${quiet[@]}"
ends mem-device-mmio 0 "$vmm" --kernel good --device mem,512M --device pmem,new-pmem,shm \
    --transport mmio "${quiet[@]}"

# Sockets.
bad vsock-no-cid 2 'cid' "$vmm" --kernel good --device vsock,uds=new-uds
bad vsock-no-uds 2 'uds' "$vmm" --kernel good --device vsock,cid=3
bad vsock-host-cid 2 'cid: 2 is out of range' "$vmm" --kernel good --device vsock,cid=2,uds=new-uds
bad vsock-any-cid 2 'cid: 0xffffffff' "$vmm" --kernel good --device vsock,cid=0xffffffff,uds=new-uds
bad vsock-wide-cid 2 'cid: 4294967299' "$vmm" --kernel good --device vsock,cid=4294967299,uds=new-uds
bad vsock-path-exists 2 'vsock.*disk.*exists' "$vmm" --kernel good --device vsock,cid=3,uds=disk
bad vsock-path-nowhere 2 'vsock.*nowhere/uds' "$vmm" --kernel good --device vsock,cid=3,uds=nowhere/uds
bad vsock-path-long 2 'vsock.*at most' "$vmm" --kernel good \
    --device "vsock,cid=3,uds=$(printf '%0120d' 0)"
bad vsock-twice 2 'vsock.*new-uds.*exists' "$vmm" --kernel good --device vsock,cid=3,uds=new-uds \
    --device vsock,cid=4,uds=new-uds
bad vsock-legacy 2 'vsock.*no legacy interface' "$vmm" --kernel good \
    --device vsock,cid=3,uds=new-uds --transport pci-legacy
ends vsock-good 0 "$vmm" --kernel good --device vsock,cid=3,uds=new-uds "${quiet[@]}"
ends vsock-leaves-no-socket 0 "$vmm" --kernel good --device vsock,cid=3,uds=new-uds "${quiet[@]}"

# Other files that are named.
bad console-file 2 'nowhere/log' "$vmm" --kernel good --console file=nowhere/log
bad dump-dtb-file 2 'nowhere/dtb' "$vmm" --dump-dtb nowhere/dtb

# Networks.
bad net-backend 2 'usr.*user' "$vmm" --kernel good --net usr
bad net-mac 2 'mac.*01:00' "$vmm" --kernel good --net user,mac=01:00:00:00:00:01
bad net-queues 2 'user.*queues' "$vmm" --kernel good --net user,queues=2
bad net-interface 2 'nowhere' "$vmm" --kernel good --net tap,ifname=nowhere
bad net-no-tap 2 'lo.*no tap' "$vmm" --kernel good --net tap,ifname=lo
bad net-hostfwd 2 'hostfwd.*tcp:22' "$vmm" --kernel good --net user,hostfwd=tcp:22
bad net-pcap 2 'nowhere/pcap' "$vmm" --kernel good --net none,pcap=nowhere/pcap
ends net-user 0 "$vmm" --kernel good --net user --net none,queues=4 "${quiet[@]}"
if wanted net-port-taken; then
    coproc LISTENER { exec "$python" "$here/listen.py" 2>/dev/null; }
    # shellcheck disable=SC2153  # the coprocess sets it
    if read -r port <&"${LISTENER[0]}"; then
        bad net-port-taken 1 "hostfwd.*$port.*in use" "$vmm" --kernel good \
            --net "user,hostfwd=tcp:127.0.0.1:$port-:22"
    else
        fail net-port-taken "nobody listens"
    fi
    # shellcheck disable=SC2154  # as above
    kill "$LISTENER_PID" 2>/dev/null
    wait "$LISTENER_PID" 2>/dev/null
fi

# Transports, and more devices than they have room for.
bad transport-unknown 2 'transport.*pcie.*pci' "$vmm" --kernel good --transport pcie
bad transport-legacy-packed 2 'disk disk.*packed.*pci-legacy' "$vmm" --kernel good \
    --disk disk,packed=on --transport pci-legacy
bad transport-mmio-admin 2 'admin_vq.*mmio' "$vmm" --kernel good \
    --device rng,admin_vq=on,transport=mmio
bad queue-size-odd 2 'queue_size=3.*power of two' "$vmm" --kernel good --disk disk,queue_size=3
nets=()
for _ in {1..30}; do nets+=(--net none); done
bad devices-pci 2 '32 PCI devices.*31' "$vmm" --kernel good "${nets[@]}"
bad devices-mmio 2 'virtio-mmio devices.*18' "$vmm" --kernel good --transport mmio "${nets[@]:0:34}"
for transport in pci pci-transitional pci-legacy mmio mmio-legacy; do
    ends "transport-$transport" 0 "$vmm" --kernel good --disk disk --net user \
        --transport "$transport" "${quiet[@]}"
done

# The command line itself.
bad option-unknown 2 '--kernal.*--kernel' "$vmm" --kernal good
bad option-unknown-far 2 '--frobnicate' "$vmm" --kernel good --frobnicate
bad option-positional 2 'good.*--kernel' "$vmm" good
bad option-no-value 2 'kernel.*FILE' "$vmm" --kernel
bad option-value-swallowed 2 'kernel.*FILE' "$vmm" --kernel --initrd disk
bad option-flag-with-value 2 'version.*no value' "$vmm" --version=2
bad option-twice 2 'mem.*twice' "$vmm" --kernel good --mem 1G --mem 2G
bad key-unknown 2 'readonly.*ro' "$vmm" --kernel good --disk disk,readonly
bad key-twice 2 'ro.*twice' "$vmm" --kernel good --disk disk,ro,ro
bad device-unknown 2 'consol.*console' "$vmm" --kernel good --device consol
bad device-unknown-key 2 'frobnicate' "$vmm" --kernel good --device rng,frobnicate=1
bad balloon-size 2 'balloon.*only 64 MiB' "$vmm" --kernel good --mem 64M --device balloon,size=1G
bad balloon-hints 2 'hints=5.*hinting' "$vmm" --kernel good --device balloon,hints=5
ends balloon 0 "$vmm" --kernel good --device balloon,size=16M,stats=1,reporting "${quiet[@]}"
bad watchdog-unknown 2 'watchdog.*bite.*reset' "$vmm" --kernel good --watchdog bite
ends watchdog 0 "$vmm" --kernel good --transport mmio --watchdog poweroff "${quiet[@]}"
bad value-unknown 2 'discovery.*apci.*acpi' "$vmm" --kernel good --discovery apci
bad console-unknown 2 'console.*screen' "$vmm" --kernel good --console screen
bad contradiction-check-host 2 'check-host.*kernel' "$vmm" --check-host --kernel good
bad contradiction-initrd 2 'initrd.*kernel' "$vmm" --initrd disk

# /dev/kvm, in a mount namespace where it is something else. "$@" there is the program's line.
# shellcheck disable=SC2016  # expanded by that shell
missing='mkdir -p dev && mount --rbind /dev dev && mount -t tmpfs none /dev &&
    for n in null zero full random urandom tty ptmx pts shm; do
        ln -s "$PWD/dev/$n" "/dev/$n"
    done && exec "$@"'
# shellcheck disable=SC2016
replaced='mount --bind "$1" /dev/kvm && shift && exec "$@"'
apart=(unshare -m)
[[ $(id -u) -ne 0 ]] && apart=(unshare -U -r -m)
touch forbidden
chmod 000 forbidden
if "${apart[@]}" sh -c "$missing" sh test ! -e /dev/kvm 2>/dev/null; then
    bad kvm-missing 1 '/dev/kvm' "${apart[@]}" sh -c "$missing" sh "$vmm" --kernel good
else
    skip kvm-missing "no mount namespaces here (unshare -m)"
fi
if "${apart[@]}" sh -c "$replaced" sh forbidden "${bare[@]}" test ! -r /dev/kvm 2>/dev/null; then
    bad kvm-not-permitted 1 '/dev/kvm.*permission' \
        "${apart[@]}" sh -c "$replaced" sh forbidden "${bare[@]}" "$vmm" --kernel good
    bad kvm-is-something-else 1 '/dev/kvm' \
        "${apart[@]}" sh -c "$replaced" sh /dev/null "$vmm" --kernel good
else
    skip kvm-not-permitted "no mount namespaces, no setpriv(1) or no /dev/kvm here"
    skip kvm-is-something-else "likewise"
fi
# Leaks cannot be looked for in a process that is traced.
old=(env ASAN_OPTIONS=detect_leaks=0 strace -f -o trace -P /dev/kvm
    -e trace=ioctl -e inject=ioctl:retval=11:when=1)
if [[ $kvm == yes ]] && "${old[@]}" true 2>/dev/null; then
    bad kvm-too-old 1 '/dev/kvm|KVM' "${old[@]}" "$vmm" --kernel good
else
    skip kvm-too-old "needs strace(1) that works, and /dev/kvm"
fi

echo "slowest: $slowest_name, $slowest ms"
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
