#!/bin/sh
# Is the VMM in its jail while this guest runs? The laboratory has looked: an ordinary user without
# capabilities, with next to nothing in its root, in its control group.

uid=$(sed -n 's/.* vmm\.uid=\([0-9]*\).*/\1/p' /proc/cmdline)
said=$(/usr/lib/vmm/ask jail)
if [ "$said" = "$uid 0000000000000000 etc /vmm" ]; then
    echo "VMM-TEST jail PASS"
else
    echo "VMM-TEST jail FAIL $said"
fi
