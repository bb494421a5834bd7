#!/bin/bash
# Tests the control socket as a client meets it: a guest is configured, started, paused, resumed,
# given and taken memory, watched and ended, by curl.
#
# usage: run.sh VMM DIR [CASE...]   DIR: where linger.guest is; all cases without one
#        run.sh --list              the names of the cases
#
# Prints PASS or FAIL for each case. Exit status: 0 all passed; 1 one failed; 2 wrong usage; 77 none
# ran, for want of a usable /dev/kvm or of curl.

set -u
cases='life refusals config-file config-only outputs paused-end reboots late socket hostile'
here=$(realpath "$(dirname "$0")")
guard=200 # looks at something that must come; a guard, not a measurement

if [[ ${1:-} == --list ]]; then
    tr ' ' '\n' <<< "$cases"
    exit 0
fi
if [[ $# -lt 2 || ! -x $1 || ! -d $2 ]]; then
    echo "usage: run.sh VMM DIR [CASE...], or run.sh --list" >&2
    exit 2
fi
vmm=$(realpath "$1") dir=$(realpath "$2")
shift 2
# shellcheck disable=SC2086  # words they are
[[ $# -gt 0 ]] || set -- $cases
if ! (exec 3<> /dev/kvm) 2> /dev/null; then
    echo "SKIP: /dev/kvm cannot be used here"
    exit 77
fi
if ! command -v curl > /dev/null; then
    echo "SKIP: there is no curl"
    exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/vmm-api.XXXXXX") || exit 1
cd "$work" || exit 1
pid=
export ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=1} # or memory grows that nobody uses
cleanup() {
    [[ -z $pid ]] || kill -KILL "$pid" 2> /dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

faults=
fault() {
    faults+="${faults:+; }$*"
}

# begin [OPTION...]: a vmm with a control socket, which is there when this returns.
begin() {
    rm -f sock disk metrics log keys
    mkfifo keys
    exec 4<> keys # whatever is written there is typed
    truncate -s 1M disk
    "$vmm" --api-sock sock "$@" <&4 4<&- > out 2> err &
    pid=$!
    until_true 'the socket' test -S sock
}

# until_true WHAT COMMAND...
until_true() {
    local what=$1 i
    shift
    for ((i = 0; i < guard; i++)); do
        "$@" && return
        sleep 0.05
    done
    fault "$what does not come"
    return 1
}

# ended STATUS: vmm has, with this one.
ended() {
    local status=0
    if ! until_true 'the end' gone; then
        kill -KILL "$pid"
    fi
    wait "$pid" || status=$?
    pid=
    [[ $status -eq $1 ]] || fault "exit status $status, not $1"
    [[ ! -e sock ]] || fault 'the socket is still there'
    ! grep -q 'Sanitizer\|runtime error' err || fault "a sanitizer's report"
}
gone() {
    [[ ! -d /proc/$pid || $(cut -d ' ' -f 3 "/proc/$pid/stat" 2> /dev/null) == Z ]]
}

# ask VERB PATH [BODY]: leaves the status in $code and the answer in $answer.
ask() {
    local data=()
    [[ $# -lt 3 ]] || data=(-H 'Content-Type: application/json' -d "$3")
    code=$(curl -s -m 20 -o answer -w '%{http_code}' --unix-socket sock -X "$1" \
        ${data[@]+"${data[@]}"} "http://localhost$2")
    answer=
    [[ ! -f answer ]] || answer=$(< answer)
    rm -f answer
}

# want CODE PATTERN VERB PATH [BODY]: PATTERN is an extended regular expression; empty: no answer.
want() {
    local code_wanted=$1 pattern=$2
    shift 2
    ask "$@"
    if [[ $code != "$code_wanted" ]]; then
        fault "$* gives $code, not $code_wanted: $answer"
    elif [[ -z $pattern && -n $answer ]] || ! [[ $answer =~ $pattern ]]; then
        fault "$* answers $answer, not $pattern"
    fi
}
ok() {
    want 204 '' "$@"
}
no() {
    local pattern=$1
    shift
    want 400 "^\{\"fault_message\": \".*$pattern.*\"\}$" "$@"
}

# has PATH PATTERN: the answer to GET matches.
has() {
    ask GET "$1"
    [[ $answer =~ $2 ]]
}

# metric CLASS NAME: in the newest line of metrics.
metric() {
    ok PUT /actions '{"action_type": "FlushMetrics"}'
    tail -n 1 metrics | python3 -c '
import json, sys
for d in json.load(sys.stdin)["devices"]:
    if d["class"] == sys.argv[1]: print(d[sys.argv[2]])' "$1" "$2" 2> /dev/null || echo 0
}
grows() {
    [[ $(metric blk reads) -gt $1 ]]
}

# thread NAME: the same of the first of the devices' threads.
thread() {
    ok PUT /actions '{"action_type": "FlushMetrics"}'
    tail -n 1 metrics | python3 -c '
import json, sys
print(json.load(sys.stdin)["io_threads"][0][sys.argv[1]])' "$1" 2> /dev/null
}

# What the threads that run the guest are doing: S, they wait.
vcpu_states() {
    grep -l vcpu "/proc/$pid"/task/*/comm | sed 's/comm$/stat/' | xargs cut -d ' ' -f 3 | sort -u
}

descriptors() {
    find "/proc/$pid/fd" -type l | wc -l
}

configure() {
    ok PUT /machine-config '{"vcpu_count": 2, "mem_size_mib": 128}'
    ok PUT /boot-source "{\"kernel_image_path\": \"$dir/linger.guest\", \"boot_args\": \"x=y\"}"
    ok PUT /drives/rootfs \
        '{"drive_id": "rootfs", "path_on_host": "disk", "is_root_device": true, "is_read_only": true}'
    ok PUT /balloon '{"amount_mib": 0, "deflate_on_oom": true, "stats_polling_interval_s": 1}'
    ok PUT /hotplug/memory '{"total_size_mib": 256, "block_size_mib": 2, "slot_size_mib": 128}'
    ok PUT /metrics '{"metrics_path": "metrics"}'
}
start() {
    ok PUT /actions '{"action_type": "InstanceStart"}'
    await_guest
}
await_guest() {
    until_true 'the guest' grep -q 'linger: here' out
}
stop() {
    printf stop | dd of=disk conv=notrunc 2> /dev/null
    ended 0
    grep -q 'guest-test linger PASS' out || fault "the guest says: $(tail -n 1 out)"
}

life() {
    begin
    want 200 '"state": "Not started"' GET /
    want 200 '"firecracker_version": "[0-9.]+"' GET /version
    want 200 '"vcpu_count": 1' GET /machine-config
    no 'boot-source comes first' PUT /actions '{"action_type": "InstanceStart"}'
    configure
    ok PATCH /machine-config '{"vcpu_count": 1}'
    want 200 '"vcpu_count": 1.*"mem_size_mib": 128' GET /machine-config
    want 200 '"drive_id": "rootfs"' GET /vm/config
    want 200 '"amount_mib": 0.*"stats_polling_interval_s": 1' GET /balloon
    no 'not started' PATCH /vm '{"state": "Paused"}'
    start || return
    want 200 '"state": "Running"' GET /
    no 'started already' PUT /actions '{"action_type": "InstanceStart"}'
    no 'started already' PUT /machine-config '{"vcpu_count": 2, "mem_size_mib": 128}'

    ok PATCH /vm '{"state": "Paused"}'
    want 200 '"state": "Paused"' GET /
    ok PATCH /vm '{"state": "Paused"}'
    local reads
    reads=$(metric blk reads)
    ask GET /vm/config # something else happens in between
    [[ $(metric blk reads) == "$reads" ]] || fault 'a paused guest reads'
    [[ $(vcpu_states) == S ]] || fault "a vCPU of a paused guest runs: $(vcpu_states)"
    echo word >&4
    ask GET /vm/config
    [[ $(metric console input_bytes) -eq 0 && $(metric console input_bytes) -eq 0 ]] ||
        fault 'a paused console takes input'
    ok PATCH /vm '{"state": "Resumed"}'
    until_true 'a read after the pause' grows "$reads"
    word_came() { [[ $(metric console input_bytes) -eq 5 ]]; }
    until_true 'what was typed meanwhile' word_came

    ok PATCH /balloon '{"amount_mib": 16}'
    until_true 'the balloon' has /balloon/statistics '"target_mib": 16.*"actual_mib": 16'
    want 200 '"amount_mib": 16' GET /balloon
    ok PATCH /balloon/statistics '{"stats_polling_interval_s": 0}'
    no 'stats_polling_interval_s is 0' GET /balloon/statistics
    no 'free_page_hinting is not enabled' GET /balloon/hinting/status
    no 'only 128 MiB' PATCH /balloon '{"amount_mib": 1024}'

    ok PATCH /hotplug/memory '{"requested_size_mib": 64}'
    until_true 'the memory' has /hotplug/memory '"plugged_size_mib": 64'
    ok PATCH /hotplug/memory '{"requested_size_mib": 2}'
    until_true 'less memory' has /hotplug/memory '"plugged_size_mib": 2,'
    no 'requested' PATCH /hotplug/memory '{"requested_size_mib": 257}'

    no 'cannot be changed' PATCH /drives/rootfs '{"drive_id": "rootfs", "path_on_host": "disk"}'
    throttled() { [[ $(metric blk read_throttled) -gt 0 && $(metric blk read_throttled_ns) -gt 0 ]]; }
    ! throttled || fault 'a disk without limits is throttled'
    # The guest gives up when a read takes ten seconds.
    ok PATCH /drives/rootfs '{"drive_id": "rootfs", "rate_limiter": {"ops": {"size": 1, "refill_time": 2000}}}'
    until_true 'a read that waits' throttled
    want 200 '"ops": \{"size": 1, "one_time_burst": 0, "refill_time": 2000\}' GET /vm/config
    no 'ops: size is missing' PATCH /drives/rootfs '{"drive_id": "rootfs", "rate_limiter": {"ops": {}}}'
    ok PATCH /vm '{"state": "Paused"}'
    ok PATCH /vm '{"state": "Resumed"}'
    reads=$(metric blk reads)
    until_true 'a read at last' grows "$reads"
    ok PATCH /drives/rootfs '{"drive_id": "rootfs", "rate_limiter": {"ops": {"size": 0, "refill_time": 0}}}'
    ! has /vm/config rate_limiter || fault "a limit is left: $answer"
    until_true 'reads without a limit' grows "$((reads + 1000))"
    no 'no such device' PATCH /drives/other '{"drive_id": "other"}'
    no 'no keyboard' PUT /actions '{"action_type": "SendCtrlAltDel"}'
    [[ $(metric blk queue0_notifications) -gt 0 ]] || fault 'no notifications are counted'
    [[ $(thread name) == io0 && $(thread sleeps) -gt 0 && $(thread polls) -eq 0 ]] ||
        fault "the devices' thread: $(tail -n 1 metrics)"
    stop
    [[ $(tail -n 1 metrics) == *'"state":"Running"'* ]] || fault 'no last line of metrics'
}

refusals() {
    begin
    no 'no such resource' GET /nothing
    no 'no such resource' GET /drives
    no 'no such resource' PUT /drives/ '{}'
    no 'no such resource' PUT /drives/a/b '{}'
    no 'not for this resource' POST /machine-config '{}'
    no 'not for this resource' DELETE /drives/a
    no 'snapshots' PUT /snapshot/create '{}'
    no 'snapshots' PUT /snapshot/load '{}'
    no 'metadata' PUT /mmds '{}'
    no 'metadata' PUT /mmds/config '{}'
    no 'CPU' PUT /cpu-config '{}'
    no 'CPU' PUT /cpu-config '{'
    no 'PUT /machine-config: the body is missing' PUT /machine-config
    no 'not JSON' PUT /machine-config '{'
    no 'not JSON' PUT /machine-config '{"vcpu_count": 1, "vcpu_count": 1}'
    no 'not JSON' PUT /boot-source '{"kernel_image_path": "a\u0000b"}'
    no 'must be an object' PUT /machine-config '[]'
    no 'mem_size_mib is missing' PUT /machine-config '{"vcpu_count": 1}'
    no 'unknown field ..vcpu_cont..; did you mean ..vcpu_count..' PUT /machine-config '{"vcpu_cont": 1}'
    no 'vcpu_count: it must be an integer' PUT /machine-config '{"vcpu_count": "1", "mem_size_mib": 128}'
    no 'vcpu_count: 0 is out of range' PUT /machine-config '{"vcpu_count": 0, "mem_size_mib": 128}'
    no 'vcpu_count: it is negative' PUT /machine-config '{"vcpu_count": -1, "mem_size_mib": 128}'
    no 'mem_size_mib: 1M is out of range' PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 1}'
    no 'not a multiple of 2M' PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 129, "huge_pages": "2M"}'
    no 'smt:' PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 128, "smt": true}'
    no 'huge_pages: unknown value' PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 128, "huge_pages": "3M"}'
    no 'drive_id is ..b..' PUT /drives/a '{"drive_id": "b", "path_on_host": "disk", "is_root_device": false}'
    no 'an id is' PUT /drives/a%20b '{"drive_id": "a%20b", "path_on_host": "disk", "is_root_device": false}'
    no 'path_on_host: .* is missing' PUT /drives/a '{"drive_id": "a", "path_on_host": "", "is_root_device": false}'
    no 'rate_limiter: ops: size is missing' PUT /drives/a '{"drive_id": "a", "path_on_host": "disk", "is_root_device": false, "rate_limiter": {"ops": {}}}'
    no 'rate limits' PUT /entropy '{"rate_limiter": {}}'
    ok PUT /drives/a '{"drive_id": "a", "path_on_host": "disk", "is_root_device": true, "rate_limiter": null}'
    ok PUT /drives/a '{"drive_id": "a", "path_on_host": "disk", "is_root_device": true}'
    no 'each to be the root' PUT /drives/b '{"drive_id": "b", "path_on_host": "disk", "is_root_device": true}'
    truncate -s 1M empty
    ok PUT /drives/a '{"drive_id": "a", "path_on_host": "empty", "is_root_device": false}'
    no 'mac' PUT /network-interfaces/e '{"iface_id": "e", "host_dev_name": "tap0", "guest_mac": 7}'
    no 'mtu: 1 is out of range' PUT /network-interfaces/e '{"iface_id": "e", "host_dev_name": "tap0", "mtu": 1}'
    no 'no such device' GET /balloon
    no 'no such device' GET /hotplug/memory
    no 'not started' GET /balloon/statistics
    no 'PUT /balloon comes first' PATCH /balloon '{"amount_mib": 1}'
    no 'action_type: unknown value' PUT /actions '{"action_type": "Explode"}'
    no 'no metrics_path' PUT /actions '{"action_type": "FlushMetrics"}'
    no 'metrics_path' PUT /metrics '{"metrics_path": "/nowhere/at/all"}'
    no 'log_path sock: ' PUT /logger "{\"log_path\": \"sock\"}"
    no 'GET has no body' GET / '{}'
    ok PUT /boot-source '{"kernel_image_path": "nothing"}'
    no 'kernel nothing: No such file' PUT /actions '{"action_type": "InstanceStart"}'
    want 200 '"state": "Not started"' GET /
    # The kernel is looked at when all else is there: nothing of that may stay, or the next start
    # meets a socket that exists and a disk that is locked.
    local i fds
    echo garbage > garbage
    ok PUT /boot-source '{"kernel_image_path": "garbage"}'
    ok PUT /vsock '{"guest_cid": 3, "uds_path": "vsock"}'
    ok PUT /drives/rootfs '{"drive_id": "rootfs", "path_on_host": "disk", "is_root_device": false}'
    for i in 1 2 3; do
        no 'kernel garbage: neither' PUT /actions '{"action_type": "InstanceStart"}'
        [[ ! -e vsock ]] || fault 'a start that failed left its socket'
        [[ $i -ne 1 ]] || fds=$(descriptors)
    done
    [[ $(descriptors) -eq $fds ]] || fault "descriptors: $fds, and then more"
    printf '{"a": "%060000d"}' 0 > long
    want 413 'longer than 51200' PUT /machine-config @long
    configure # after all that
    start || return
    stop
}

config() {
    cat << EOF > "$1"
{"boot-source": {"kernel_image_path": "$dir/linger.guest", "boot_args": null},
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "smt": false},
 "drives": [{"drive_id": "d", "path_on_host": "disk", "is_root_device": false,
             "rate_limiter": {"ops": {"size": 5, "refill_time": 100}}}],
 "network-interfaces": [], "vsock": null, "cpu-config": null,
 "balloon": {"amount_mib": 4, "deflate_on_oom": false, "free_page_hinting": true},
 "memory-hotplug": {"total_size_mib": 128},
 "metrics": {"metrics_path": "metrics", "emit_id": true, "properties": {"k": "v"}}}
EOF
}

config-file() {
    config file
    begin --config-file file
    await_guest || return
    want 200 '"state": "Running"' GET /
    want 200 '"amount_mib": 4' GET /vm/config
    want 200 '"size": 5, "one_time_burst": 0, "refill_time": 100' GET /vm/config
    want 200 '"host_cmd": 0' GET /balloon/hinting/status
    ok PATCH /balloon/hinting/start '{"acknowledge_on_stop": true}'
    ok PATCH /balloon/hinting/start
    ok PATCH /balloon/hinting/stop
    ok PUT /actions '{"action_type": "FlushMetrics"}'
    [[ $(< metrics) == *'"properties":{"k":"v"}'* ]] || fault "metrics: $(< metrics)"
    curl -s --unix-socket sock http://localhost/vm/config > again
    stop
    begin --config-file again # what is shown can be read
    await_guest || return
    stop
}

config-only() {
    config file
    rm -f disk
    truncate -s 1M disk
    printf stop | dd of=disk conv=notrunc 2> /dev/null
    "$vmm" --config-file file < /dev/null > out 2> err &
    pid=$!
    ended 0
    grep -q 'guest-test linger PASS' out || fault "the guest says: $(tail -n 1 out)"
}

# Pipes that are read or not, and a file that is moved away.
outputs() {
    mkfifo pipe
    begin --log debug
    configure
    ok PUT /metrics '{"metrics_path": "pipe"}'
    ok PUT /logger '{"log_path": "log", "level": "Debug", "show_level": true}'
    start || return
    ok PUT /actions '{"action_type": "FlushMetrics"}'
    local i
    for ((i = 0; i < 100; i++)); do # more than a pipe holds
        ask PUT /actions '{"action_type": "FlushMetrics"}'
        [[ $code == 204 ]] || break
    done
    [[ $code == 500 && $answer == *metrics_path* ]] || fault "a full pipe: $code $answer"
    want 200 '"state": "Running"' GET /
    ok PUT /metrics '{"metrics_path": "metrics"}'
    ok PUT /actions '{"action_type": "FlushMetrics"}'
    [[ $(< metrics) == *'"missed_lines":1,'* ]] || fault "the missed line is not counted"
    mv metrics old
    ok PUT /metrics '{"metrics_path": "metrics"}'
    ok PUT /actions '{"action_type": "FlushMetrics"}'
    [[ $(wc -l < metrics) -eq 1 && $(wc -l < old) -eq 1 ]] || fault 'metrics do not follow'
    [[ -f log ]] || fault 'no log file'
    stop
}

# A signal ends a paused guest, and nobody waits for a client that says nothing.
paused-end() {
    begin
    configure
    start || return
    ok PATCH /vm '{"state": "Paused"}'
    python3 -c '
import signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("sock")
s.send(b"PUT /actions HTTP/1.1\r\nHost: l\r\nContent-Length: 100\r\n\r\n{")
print("here", flush=True)
try:
    s.recv(1)
except ConnectionResetError: # half of the request was not read yet
    pass' > silent &
    local silent=$!
    until_true 'the silent client' grep -qs here silent
    kill -TERM "$pid"
    ended 143
    wait "$silent" || fault 'the silent client was not let go'
}

# A guest that resets itself is paused and resumed all the while: it lives as often as without.
reboots() {
    begin --kernel "$dir/reboot.guest" --mem 128M --discovery cmdline --transport mmio \
        --cmdline "how=restart cpus=1 sectors=2048 now=$(date +%s)" --disk disk
    while ! gone; do # answers end where the guest does
        ask PATCH /vm '{"state": "Paused"}'
        [[ $code == 204 || $code == 000 ]] || fault "a pause: $code $answer"
        ask PATCH /vm '{"state": "Resumed"}'
        [[ $code == 204 || $code == 000 ]] || fault "a resumption: $code $answer"
    done
    ended 0
    local life
    for life in 0 1 2 3; do
        grep -qx "reboot: life $life" out || fault "no life $life"
    done
    grep -q 'guest-test reboot PASS' out || fault "the guest says: $(tail -n 1 out)"
}

# What the command line has started is controlled all the same, by the names it gave.
late() {
    truncate -s 1M disk
    begin --kernel "$dir/linger.guest" --mem 128M --disk disk,id=data --device balloon \
        --device mem,128M,id=more
    await_guest || return
    want 200 '"mem_size_mib": 128' GET /machine-config
    want 200 '"drive_id": "data"' GET /vm/config
    ok PATCH /balloon '{"amount_mib": 8}'
    ok PUT /metrics '{"metrics_path": "metrics"}'
    balloon_is_8m() { [[ $(metric balloon actual_bytes) -eq 8388608 ]]; }
    until_true 'the balloon' balloon_is_8m
    no 'started already' PUT /boot-source '{"kernel_image_path": "x"}'
    stop
}

socket() {
    begin
    [[ $(stat -c %a sock) == 600 ]] || fault "the socket's mode is $(stat -c %a sock)"
    "$vmm" --api-sock sock < /dev/null > out2 2> err2
    [[ $? -eq 2 && $(wc -l < err2) -eq 1 && $(< err2) == *sock* ]] || fault "a second one: $(< err2)"
    [[ -S sock ]] || fault "the second one took the first one's socket"
    want 200 'Not started' GET /
    kill -INT "$pid"
    ended 130
    begin # and what has taken the name over since is not removed
    mv sock ours
    echo theirs > sock
    kill -INT "$pid"
    until_true 'the end' gone
    [[ -f sock ]] || fault "somebody else's file was removed"
    rm -f sock ours
    ended 130
}

# The guest reads on, whatever clients send; VMM_API_REQUESTS says how much they do.
hostile() {
    local count=${VMM_API_REQUESTS:-10000}
    begin # what is configured meanwhile is nobody's guest
    storm $((count / 5))
    kill -TERM "$pid"
    ended 143
    begin
    configure
    start || return
    local reads
    reads=$(metric blk reads)
    storm "$count"
    ok PUT /metrics '{"metrics_path": "metrics"}'
    ok PATCH /vm '{"state": "Resumed"}'
    until_true 'a read after all that' grows "$reads"
    stop
}
storm() {
    timeout 250 python3 "$here/hostile.py" sock "$pid" "$1" ${VMM_API_SEED:+"$VMM_API_SEED"} \
        > said 2>&1 || fault "$(tail -n 3 said)"
    sed 's/^/hostile: /' said
}

failed=0
for name; do
    if [[ " $cases " != *" $name "* ]]; then
        echo "run.sh: no such case: $name" >&2
        exit 2
    fi
    faults=
    "$name"
    if [[ -z $faults ]]; then
        echo "PASS $name"
        continue
    fi
    failed=1
    echo "FAIL $name: $faults"
    sed 's/^/  guest: /' out
    sed 's/^/  vmm: /' err
    [[ -z $pid ]] || { kill -KILL "$pid" && wait "$pid"; } 2> /dev/null
    pid=
done
exit "$failed"
