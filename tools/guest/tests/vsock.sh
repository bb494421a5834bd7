#!/bin/sh
# Do sockets reach the host, with tools/guest/vsock-peer at its other end? A hundred connections at
# once from either side, some with messages, some that read slowly; every byte is checked.
#
# shellcheck shell=dash

fail() {
    echo "VMM-TEST vsock FAIL $*"
    exit 0
}

[ -e /dev/vsock ] || fail "no /dev/vsock"
/usr/lib/vmm/vsock-peer guest 256 200 > /tmp/peer
status=$?
sed 's/^vsock-peer:/VMM-NOTE vsock/' /tmp/peer
[ $status -eq 0 ] || fail "exit status $status"
echo "VMM-TEST vsock PASS"
