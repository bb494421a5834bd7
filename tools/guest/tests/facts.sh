#!/bin/sh
# Says what each virtio device and its driver agreed on, for the host to compare with what it asked
# for: one line "VMM-FACT DEVICE BUS PCI-ID INTERFACE RINGS INTERRUPTS" for each, where the last
# three are "-" for a device that has no driver. What goes wrong already here is a device whose
# driver is not ready.

fail() {
    echo "VMM-TEST facts FAIL $*"
    exit 0
}

# has DEVICE BIT: what was negotiated, as a string that has bit 0 first.
has() {
    [ "$(cut -c $(($2 + 1)) "$1/features")" = 1 ]
}

# By the device's number, from 0 on: virtio 1.4, 5.
names='- net blk console rng balloon - - scsi - - - - - - - - rtc - vsock - - - - mem - fs pmem'
driver_ok=4
for device in /sys/bus/virtio/devices/*; do
    parent=$(readlink -f "$device/..")
    bus=$(basename "$(readlink "$parent/subsystem")")
    name=$(echo "$names" | cut -d ' ' -f $(($(cat "$device/device") + 1)))
    status=$(($(cat "$device/status")))
    id=- interface=legacy rings=split interrupts=line
    [ "$bus" != pci ] || id=$(cat "$parent/device")
    if [ ! -e "$device/driver" ]; then
        echo "VMM-FACT $name $bus $id - - -"
        continue
    fi
    [ $((status & driver_ok)) -ne 0 ] || fail "$name: status $status"
    [ -z "$(ls "$parent/msi_irqs" 2> /dev/null)" ] || interrupts=msi
    if has "$device" 32; then interface=modern; fi
    if has "$device" 34; then rings=packed; fi
    echo "$name: features $(cat "$device/features")"
    echo "VMM-FACT $name $bus $id $interface $rings $interrupts"
done
echo "VMM-TEST facts PASS"
