#!/bin/sh
# Do sockets reach the host, with tools/guest/vsock-peer at its other end? A hundred connections at
# once from either side, some with messages, some that read slowly; every byte is checked.

[ -e /dev/vsock ] || { echo "VMM-TEST vsock FAIL no /dev/vsock" && exit 0; }
if /usr/lib/vmm/vsock-peer guest; then
    echo "VMM-TEST vsock PASS"
else
    echo "VMM-TEST vsock FAIL exit status $?"
fi
