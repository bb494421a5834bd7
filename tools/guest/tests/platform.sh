#!/bin/sh
# Does the kernel take what the machine describes besides virtio devices? The tables follow for the
# host to take apart.
#
# shellcheck shell=dash

acpi=/sys/bus/acpi/devices

fail() {
    ls $acpi
    echo "VMM-TEST platform FAIL $*"
    exit 0
}

# driver DEVICE: which one is bound, to it or to what it stands for.
driver() {
    for link in "$acpi/$1/driver" "$acpi/$1/physical_node/driver"; do
        if [ -e "$link" ]; then basename "$(readlink "$link")"; fi
    done
}

if ls -d /sys/bus/*/drivers/vmgenid; then
    name=$(driver VMM0001:00)
    echo "VMM-NOTE platform generation ID: ${name:-no driver}"
    [ "$name" = vmgenid ] || fail "the generation ID has no driver"
    grep -q 'ACPI:Ged' /proc/interrupts || fail "nobody hears of its changes"
else
    echo "VMM-SKIP platform Linux $(uname -r) has no driver for a generation ID"
fi

tables=/sys/firmware/acpi/tables
for table in "$tables"/*; do
    [ -f "$table" ] || continue
    echo "VMM-TABLE-BEGIN ${table##*/}"
    base64 "$table"
    echo "VMM-TABLE-END"
done

! dmesg | grep -E 'ACPI( BIOS)? (Error|Warning|Exception)' ||
    fail "the kernel complains of the tables"

name=$(driver QEMU0001:00)
echo "VMM-NOTE platform pvpanic: ${name:-no driver}"
[ -n "$name" ] || fail "pvpanic has no driver"
[ "$(cat "$acpi/QEMU0001:00/physical_node/capability")" = 1 ] || fail "pvpanic says another thing"
echo "VMM-TEST platform PASS"
