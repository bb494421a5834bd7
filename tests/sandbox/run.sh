#!/bin/bash
# The sandbox of real runs: that every thread of a running machine is in it, and that the lists of
# system calls have none that nothing needs.
#
# usage: run.sh VMM DIR GEN TESTS CASE   DIR: where the NAME.guest files are; GEN: sandbox-gen;
#                                        TESTS: where the unit tests' programs are
#
# Case "superfluous" runs test guests under strace(1) and compares what each kind of thread did once
# it was confined with the lists: with what unit tests do that show what the C library makes of them
# (test_sandbox) and what a shared folder's threads do, and with guests.tsv, what real guests made
# threads do (tools/sandbox-seen). Exit status: 0 as expected; 1 not so; 77: there is no
# usable /dev/kvm, no strace, or no sandbox in this build, and why is said.

set -u
vmm=$(realpath "$1") dir=$(realpath "$2") gen=$(realpath "$3") tests=$(realpath "$4")
here=$(realpath "$(dirname "$0")")
guard=300 # looks at something that must come; a guard, not a measurement
skip() {
    echo "SKIP: $*"
    exit 77
}
(exec 3<> /dev/kvm) 2> /dev/null || skip "/dev/kvm cannot be used here"
[[ $5 != superfluous ]] || command -v strace > /dev/null || skip "there is no strace"

work=$(mktemp -d "${TMPDIR:-/tmp}/vmm-sandbox.XXXXXX") || exit 1
pid=
cleanup() {
    [[ -z $pid ]] || kill -KILL "$pid" 2> /dev/null
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1
mkdir share
truncate -s 8M disk

stays=(--kernel "$dir/linger.guest" --mem 128M --disk disk --device balloon --device mem,256M)

# linger [OPTION...]: a machine with threads of every kind, whose guest runs when this returns.
linger() {
    "$vmm" "${stays[@]}" --cpus 2 --io-threads 2 --device fs,share,tag=x --net user \
        --api-sock sock "$@" \
        < /dev/null > out 2> err &
    pid=$!
    for ((i = 0; i < guard; i++)); do
        ! grep -q 'linger: here' out || return 0
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
    done
    echo "FAIL: the guest does not begin"
    cat out err
    exit 1
}

# of_threads FIELD: its value for each thread of the machine.
of_threads() {
    sed -n "s/^$1:[[:space:]]*//p" /proc/"$pid"/task/*/status
}

threads() {
    linger
    local all=0 n
    # The main thread and the pools' enter while the guest begins.
    for ((i = 0; i < guard; i++)); do
        ! of_threads Seccomp | grep -qv '^2$' || { sleep 0.1 && continue; }
        break
    done
    of_threads Name | sort | uniq -c
    of_threads Seccomp | grep -qv '^2$' && echo "FAIL: a thread without a filter" && all=1
    of_threads NoNewPrivs | grep -qv '^1$' && echo "FAIL: a thread may gain privileges" && all=1
    n=$(of_threads Name | grep -vE '^(kvm|iou)-' | sort -u | wc -l) # the kernel's own are among them
    [[ $n -eq 9 ]] || { echo "FAIL: $n names of threads, not 9" && all=1; }
    return $all
}

off() {
    linger --sandbox off
    grep -qx 'vmm: --sandbox off: nothing confines this process' err &&
        ! of_threads Seccomp | grep -qv '^0$'
}

refuse=() # what strace lets fail
around=() # what starts strace
mem=128M

# trace NAME COMMAND...
trace() {
    local name=$1
    shift
    ASAN_OPTIONS=detect_leaks=0 timeout 300 "${around[@]}" strace -f -e raw=ioctl ${refuse[@]+"${refuse[@]}"} \
        -o "$name.trace" "$@" \
        < /dev/null > "$name.out" 2>&1
}

# guest NAME [OPTION...]: a test guest, traced.
guest() {
    local name=$1 kernel=$2
    shift 2
    trace "$name" "$vmm" --kernel "$dir/$kernel.guest" --mem "$mem" --discovery cmdline "$@" ||
        { echo "FAIL: $name: exit status $?" && tail -n 5 "$name.out" && return 1; }
}

# What the command says goes by a socket.
by_socket=(python3 -c 'import socket, subprocess, sys
ours, its = socket.socketpair()
p = subprocess.Popen(sys.argv[1:], stdout=its)
its.close()
while said := ours.recv(4096):
    sys.stdout.buffer.write(said)
sys.exit(p.wait())')

superfluous() {
    local now failed=0 suite cpus
    now="sectors=16384 now=$(date +%s)"
    guest disk blk --transport mmio --disk disk,serial=scratch --cmdline "$now" || failed=1
    cpus=$(taskset -cp $$) cpus=${cpus##* }
    taskset -cp "${cpus%%[-,]*}" $$ > /dev/null # where loops choose a scheduling policy
    guest one-cpu blk --transport mmio --disk disk,serial=scratch --cmdline "$now" || failed=1
    taskset -cp "$cpus" $$ > /dev/null
    mem=128M,shared
    guest reset reboot --transport mmio --disk disk --cmdline "$now how=restart cpus=1" || failed=1
    mem=128M
    truncate -s 4M pmem && printf 'from the host' | dd of=pmem conv=notrunc 2> /dev/null
    guest memory memory --transport pci --device pmem,pmem,shm --device mem,256M,requested=6M \
        --cmdline "$now" || failed=1
    # A host that refuses io_uring.
    refuse=(-e inject=io_uring_setup:error=EPERM)
    around=("${by_socket[@]}")
    guest epoll blk --transport mmio --disk disk,serial=scratch --net user --cmdline "$now" ||
        failed=1
    around=()
    refuse=()
    for suite in sandbox loop_io fs fs_files fs_folders fs_locks fs_read; do
        [[ ! -x $tests/test_$suite ]] ||
            MALLOC_ARENA_MAX=1 trace "$suite" "$tests/test_$suite" --timeout 250
    done
    control || failed=1
    awk -f "$here/seen.awk" ./*.trace > seen
    "$gen" --lists > lists
    awk -f "$here/judge.awk" lists seen "$here/guests.tsv" > wrong
    if [[ -s wrong ]]; then
        echo "FAIL: calls that nothing was seen to make, by rows without a reason; or that have no row:"
        cat wrong
        failed=1
    fi
    return $failed
}

# ask PATH [OPTION...]: of the control socket.
ask() {
    curl -s --fail --unix-socket sock "http://localhost$1" "${@:2}" > /dev/null
}

# The control socket, traced: strace leaves the program alone in its own process with -D.
control() {
    command -v curl > /dev/null || skip "there is no curl"
    strace -D -f -e raw=ioctl -o control.trace "$vmm" "${stays[@]}" --api-sock sock \
        < /dev/null > out 2> err &
    pid=$!
    for ((i = 0; i < guard; i++)); do
        ! grep -q 'linger: here' out || break
        sleep 0.1
    done
    if ! { ask / && ask /vm/config &&
        ask /vm -X PATCH -d '{"state": "Paused"}' && ask /vm -X PATCH -d '{"state": "Resumed"}' &&
        ask /logger -X PUT -d '{"log_path": "log"}' &&
        ask /logger -X PUT -d '{"log_path": "log2"}' &&
        ask /metrics -X PUT -d '{"metrics_path": "metrics"}' &&
        ask /actions -X PUT -d '{"action_type": "FlushMetrics"}' &&
        ask /drives/blk0 -X PATCH -d '{"drive_id": "blk0",
            "rate_limiter": {"ops": {"size": 100, "refill_time": 100}}}'; }; then
        echo "FAIL: the control socket" && cat err
        return 1
    fi
    kill -TERM "$pid"
    wait "$pid"
    pid=
}

"$5"
