#!/bin/sh
# Writes files on the disk "cut" until there is no machine any more (tools/lab-powercut). What is
# said of a file here, its fsync() has come back before. The files of a life are in a folder of its
# own, those of the life before it stay.
#
# shellcheck shell=dash

fail() {
    echo "VMM-TEST powercut FAIL $*"
    exit 0
}

# writer NAME: a file of its own each time, in one of three ways.
writer() {
    i=0
    while [ $i -lt 300 ]; do
        i=$((i + 1))
        file=$1-$i
        case $((i % 3)) in
        0) # at once
            dd if=/dev/urandom of="$file" bs=$((i * 7919 % 60000 + 1)) count=1 conv=fsync || return
            ;;
        1) # longer and longer
            for part in 1 2 3; do
                dd if=/dev/urandom bs=$((i * 104729 % 20000 + part)) count=1 >> "$file" || return
                sync "$file"
            done
            ;;
        2) # under another name
            dd if=/dev/urandom of="tmp-$file" bs=4096 count=$((i % 9 + 1)) conv=fsync || return
            mv "tmp-$file" "$file" && sync . || return
            ;;
        esac 2> /dev/null
        echo "VMM-CUT file $life/$file $(sha256sum < "$file" | cut -d ' ' -f 1)"
    done
}

for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" != cut ] || name=${disk##*/}
done
[ -n "${name:-}" ] || fail "there is no such disk"
mkdir /tmp/cut
echo "VMM-CUT mount"
mount -t ext4 "/dev/$name" /tmp/cut || fail "mount"
cd /tmp/cut || fail "cd"
last=$(find . -maxdepth 1 -name '[0-9]*' | cut -c 3- | sort -n | tail -n 1)
life=$((${last:-0} + 1))
mkdir $life
sync
for old in [0-9]*; do
    [ "$old" -ge $((life - 1)) ] || rm -rf "$old"
done
cd $life || fail "cd $life"
echo "VMM-CUT begin $life"
for w in a b c; do
    writer $w &
done
wait
fail "nobody has cut the power"
