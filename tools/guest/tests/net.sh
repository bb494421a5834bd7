#!/bin/sh
# Does the network work, with tools/lab-net at its other end? The hardware address says what an
# interface is connected to: 52:54:00:00:00:01 to the VMM's own network, :02 to a tap, :03 to a
# macvtap. Files go both ways, over connections that either side opened, and the checksums must
# agree.
#
# shellcheck shell=dash

fail() {
    ip address
    echo "VMM-TEST net FAIL $*"
    exit 0
}

# What runs a command on one CPU, while that matters.
pin=''
get() {
    $pin timeout 60 wget -q -O - "$@"
}

# interface ADDRESS: its name.
interface() {
    local file
    file=$(grep -lx "52:54:00:00:00:$1" /sys/class/net/*/address) && basename "${file%/address}"
}

# copies PEER SELF: PEER is the other end's address, and SELF where it finds us.
copies() {
    local sum
    get "http://$1:8000/data" > /tmp/www/data || fail "no data from $1"
    sum=$(sha256sum < /tmp/www/data)
    [ "$(get "http://$1:8000/data.sha256")" = "$sum" ] || fail "what $1 gave differs"
    [ "$(get --post-file /tmp/www/data "http://$1:8000/cgi-bin/sum")" = "$sum" ] ||
        fail "what $1 was given differs"
    [ "$(get "http://$1:8000/cgi-bin/pull?$2")" = "$sum" ] || fail "what $1 took from $2 differs"
}

user() {
    udhcpc -n -q -f -t 5 -i "$1" -s /usr/lib/vmm/dhcp-event || fail "no lease"
    ip address show dev "$1" | grep -F 'inet 10.0.2.15/24' || fail "another address"
    ping -c 3 10.0.2.2 || fail "no echo from the router"
    nslookup name.vmm.test | grep -x 'Address.*: 192\.0\.2\.53' || fail "no answer by DNS"
    copies 10.0.2.2 127.0.0.1:8080
}

# frames INTERFACE WAY COMMAND...: with segmentation left to the other end, the mean frame that the
# command makes is longer than what fits on a wire.
frames() {
    local counts="/sys/class/net/$1/statistics/$2" way=$2 bytes packets mean
    bytes=$(cat "${counts}_bytes") packets=$(cat "${counts}_packets")
    shift 2
    "$@" > /dev/null || fail "$*"
    mean=$((($(cat "${counts}_bytes") - bytes) / ($(cat "${counts}_packets") - packets)))
    echo "mean $way frame of $mean bytes"
    [ $mean -gt 1514 ] || fail "$way frames are cut by their sender"
}

# tap INTERFACE NET: the other end is NET.1.
tap() {
    local cpu=0
    ip address add "$2.2/24" dev "$1"
    ip link set "$1" up
    ping -c 3 "$2.1" || fail "no echo from $2.1"
    ping -c 1 -s 20000 "$2.1" || fail "no echo of a packet in pieces"
    while [ $cpu -lt "$(nproc)" ]; do
        pin=$(printf '/usr/lib/vmm/busybox taskset %x' $((1 << cpu)))
        copies "$2.1" "$2.2"
        cpu=$((cpu + 1))
    done
    pin=''
    frames "$1" rx get "http://$2.1:8000/data"
    frames "$1" tx get --post-file /tmp/www/data "http://$2.1:8000/cgi-bin/sum"
}

mkdir -p /tmp/www
/usr/lib/vmm/busybox httpd -h /tmp/www
found=0
if name=$(interface 01); then found=$((found + 1)) && user "$name"; fi
if name=$(interface 02); then found=$((found + 1)) && tap "$name" 10.9.0; fi
if name=$(interface 03); then found=$((found + 1)) && tap "$name" 10.10.0; fi
[ $found -gt 0 ] || fail "there is no interface"
[ $found -eq "$(find /sys/class/net/*/device -prune | wc -l)" ] || fail "one is not known here"
echo "VMM-TEST net PASS"
