#!/bin/sh
# Do ethtool's settings take effect and read back, and does the interface work after each? What a
# device did not offer must be refused. After the test "net", which gave addresses.
#
# shellcheck shell=dash

fail() {
    ethtool -i "$name"
    echo "VMM-TEST ethtool FAIL $name: $*"
    exit 0
}

has() {
    [ "$(cut -c $(($1 + 1)) "/sys/class/net/$name/device/features")" = 1 ]
}

# value FLAG KEY: what "ethtool FLAG" shows; the setting in use comes after the limits.
value() {
    ethtool "$1" "$name" | awk -F ':[ \t]*' -v key="$2" '$1 == key { n = $2 } END { print n }'
}

# change FLAG KEY VALUE [SHOWN]: sets it; SHOWN is what the key is called when it is shown.
change() {
    ethtool "$1" "$name" "$2" "$3" || fail "no $2 $3"
    [ "$(value "$(echo "$1" | tr GLCK glck)" "${4:-$2}")" = "$3" ] || fail "$2 $3 has no effect"
}

echoes() {
    ping -c 1 -W 20 "$peer" || fail "no echo after $*"
}

refused() {
    ! ethtool "$@" || fail "accepted: $*"
}

for name in /sys/class/net/eth*; do
    read -r address < "$name/address"
    name=${name##*/} peer=10.0.2.2
    case $address in
    *:02) peer=10.9.0.1 ;;
    *:03) peer=10.10.0.1 ;;
    esac
    [ "$(value -i driver)" = virtio_net ] || fail "another driver"

    pairs=$(ethtool -l "$name" | awk '/^Combined:/ { print $2; exit }')
    [ "$pairs" -le "$(nproc)" ] || pairs=$(nproc)
    [ "$pairs" -eq 1 ] || for n in 1 "$pairs"; do
        change -L combined "$n" Combined
        echoes "$n pairs"
    done

    ring=$(value -g RX)
    if has 40; then
        for n in 64 "$ring"; do
            change -G rx "$n" RX
            change -G tx "$n" TX
            echoes "rings of $n"
        done
    else
        refused -G "$name" rx 64
    fi

    # The driver takes all of them at once, and frames of 0 mean a way of sending that can change
    # only while the link is down.
    if has 53; then
        ethtool -C "$name" rx-usecs 64 tx-usecs 16 tx-frames 1 || fail "no coalescing"
        [ "$(value -c rx-usecs) $(value -c tx-usecs)" = "64 16" ] || fail "other coalescing"
        echoes coalescing
        ethtool -C "$name" rx-usecs 0 tx-usecs 0 || fail "no end of coalescing"
    else
        refused -C "$name" rx-usecs 64
    fi

    if has 11; then
        change -K tso off tcp-segmentation-offload
        change -K tso on tcp-segmentation-offload
    fi
    if has 2; then
        change -K rx-gro-hw off
        change -K rx-gro-hw on
    fi
    echoes "all of it"
done
echo "VMM-TEST ethtool PASS"
