#!/bin/sh
# 1 GiB on one connection, either way, to a reader that pauses: what the VMM has resident meanwhile
# shows that it keeps little for it. Then what the test "vsock" does, with 10 MiB on each connection.
#
# shellcheck shell=dash

fail() {
    echo "VMM-TEST vsock-long FAIL $*"
    exit 0
}

rss() {
    /usr/lib/vmm/ask rss
}

# peer WORD...
peer() {
    /usr/lib/vmm/vsock-peer guest "$@" > /tmp/peer
    status=$?
    sed 's/^vsock-peer:/VMM-NOTE vsock-long/' /tmp/peer
    [ $status -eq 0 ] || fail "$*: exit status $status"
}

# large WAY
large() {
    rss > /tmp/seen
    touch /tmp/runs
    while [ -e /tmp/runs ]; do
        rss >> /tmp/seen
        sleep 1
    done &
    peer "$1" 1024 600
    rm /tmp/runs
    wait
    before=$(head -n 1 /tmp/seen) most=$(sort -n /tmp/seen | tail -n 1)
    echo "VMM-NOTE vsock-long the VMM had $((before / 1024)) MiB, and $((most / 1024)) MiB at most," \
        "seen $(wc -l < /tmp/seen) times"
    [ "$(wc -l < /tmp/seen)" -gt 10 ] || fail "nobody has looked"
    [ $((most - before)) -lt 65536 ] || fail "it keeps too much"
}

[ -e /dev/vsock ] || fail "no /dev/vsock"
large up
large down
peer 10240 1500
echo "VMM-TEST vsock-long PASS"
