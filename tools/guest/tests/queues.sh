#!/bin/sh
# After the test "net", which ran on each CPU: was every pair of queues used, and did each queue
# interrupt where it has an interrupt of its own (MSI-X)?

fail() {
    cat /proc/interrupts
    echo "VMM-TEST queues FAIL $*"
    exit 0
}

for name in /sys/class/net/eth*; do
    device=$(readlink -f "$name/device") name=${name##*/}
    vectors=$(ls "$device/../msi_irqs" 2> /dev/null)
    pairs=$(ethtool -l "$name" | awk '/^Combined:/ { n = $2 } END { print n }')
    ethtool -S "$name" > /tmp/counts || fail "no statistics of $name"
    n=0
    while [ "$n" -lt "$pairs" ]; do
        for way in rx tx; do
            grep "${way}_queue_${n}_packets: [1-9]" /tmp/counts ||
                fail "$name has no $way packets on queue $n"
        done
        for way in ${vectors:+input output}; do
            awk -v queue="${device##*/}-$way.$n" '
                $NF == queue { for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i }
                END { print queue, sum + 0; exit !sum }' /proc/interrupts || fail "no interrupt"
        done
        n=$((n + 1))
    done
done
echo "VMM-TEST queues PASS"
