#!/bin/sh
# Does lspci, which reads every register of every function, find what it knows, and nothing to
# complain about? Every virtio function must use MSI-X.

fail() {
    echo "VMM-TEST pci FAIL $*"
    exit 0
}

lspci -n -vv > /tmp/lspci 2> /tmp/complaints || fail "lspci: exit status $?"
cat /tmp/lspci /tmp/complaints
# There are no modules here, and Debian 12's lspci has no name for one of virtio's capabilities.
! grep -v libkmod /tmp/complaints || fail "lspci complains"
! grep -v 'VirtIO: <unknown>' /tmp/lspci |
    grep -i -E 'unknown|unassigned|invalid|broken|denied|disabled|virtual|ignored|!!!' ||
    fail "lspci finds trouble"
functions=$(grep -c '^[0-9a-f:.]* [0-9a-f]*: 1af4:' /tmp/lspci)
enabled=$(grep -c 'MSI-X: Enable+ Count=[0-9]* Masked-' /tmp/lspci)
[ "$functions" -gt 0 ] || fail "there are no virtio functions"
[ "$enabled" -eq "$functions" ] || fail "$enabled of $functions functions use MSI-X"
echo "VMM-TEST pci PASS"
