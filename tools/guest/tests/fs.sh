#!/bin/sh
# A shared folder, as the stock driver uses it: what the host put there is read, a tree is unpacked,
# compared and removed, and many processes write and rename at once. What they leave, with checksums,
# is for the host to check. As fs-dax it does the same with files that are mapped (mount -o dax).

test=$(basename "$0")

fail() {
    echo "VMM-TEST $test FAIL $*"
    umount /mnt
    exit 0
}

options=noatime
[ "$test" = fs ] || options=dax
mount -t virtiofs -o "$options" shared /mnt || fail "mount -o $options"
(cd /mnt/from-host && sha256sum -c sums > /dev/null) || fail "what the host has written"

# ---- a tree ----

# Each file of the current folder: what it is, whose, how old, where it leads, and what is in it.
# How old a link is busybox's cp does not copy, nor can a folder's size be copied.
list() {
    find . -type d -exec stat -c '%n %f %u %g %Y' {} + | sort
    find . -type l -exec stat -c '%N %f %u %g %s' {} + | sort
    find . -type f -exec stat -c '%n %f %u %g %Y %s %h' {} + | sort
    find . -type f -exec sha256sum {} + | sort
}

mkdir /mnt/tree /mnt/again /mnt/many || fail "mkdir"
cp -a /bin /lib /etc /usr /sbin /mnt/tree || fail "cp -a"
for dir in bin lib etc usr sbin; do
    (cd /$dir && list) > /tmp/a
    (cd /mnt/tree/$dir && list) > /tmp/b
    cmp /tmp/a /tmp/b || fail "what is below $dir: $(diff /tmp/a /tmp/b | head -n 4)"
done
find /mnt/tree | wc -l
tar -C /mnt/tree -cf - . | tar -C /mnt/again -xf - || fail "tar"
(cd /mnt/again/usr && find . -type f -exec sha256sum {} + | sort) > /tmp/a
(cd /usr && find . -type f -exec sha256sum {} + | sort) > /tmp/b
cmp /tmp/a /tmp/b || fail "what tar has unpacked"
# A program is mapped and run from there, and its libraries too.
[ "$(chroot /mnt/tree /bin/echo mapped)" = mapped ] || fail "a program of the tree does not run"
rm -rf /mnt/tree /mnt/again || fail "rm -rf"
[ "$(find /mnt/tree /mnt/again 2> /dev/null)" = "" ] || fail "the trees are still there"

# ---- many at once ----

worker() {
    n=0
    while [ $n -lt 25 ]; do
        f=/mnt/many/$1-$n
        dd if=/dev/urandom of="$f.tmp" bs=$((1000 * n + 17)) count=$((n % 7 + 1)) 2> /dev/null || return
        sync "$f.tmp"
        echo "$(sha256sum < "$f.tmp" | cut -d ' ' -f 1)  many/$1-$n" >> "/mnt/many/sums-$1" || return
        mv "$f.tmp" "$f" || return
        # One name that all of them fight for.
        cp "$f" "/mnt/many/common.$1" || return
        mv "/mnt/many/common.$1" /mnt/many/common || return
        n=$((n + 1))
    done
    touch "/mnt/many/done-$1"
}
for w in 1 2 3 4 5 6; do
    worker $w &
done
wait
for w in 1 2 3 4 5 6; do
    [ -e /mnt/many/done-$w ] || fail "worker $w has not come to its end"
done
cat /mnt/many/sums-? > /mnt/sums
echo 3 > /proc/sys/vm/drop_caches
[ "$(wc -l < /mnt/sums)" -eq 150 ] || fail "$(wc -l < /mnt/sums) checksums"
(cd /mnt && sha256sum -c sums > /tmp/sums) || fail "$(grep -v OK /tmp/sums | head -n 3)"

# ---- odds and ends ----

(
    flock 9 || exit
    sleep 1
    echo first >> /mnt/order
) 9> /mnt/lock &
sleep 0.3
(flock 9 && echo second >> /mnt/order) 9> /mnt/lock
wait
[ "$(tr '\n' ' ' < /mnt/order)" = "first second " ] || fail "a lock was not waited for"
truncate -s 10M /mnt/long
[ "$(stat -c %s /mnt/long)" = 10485760 ] || fail "truncate"
ln -s ../nowhere /mnt/link
[ "$(readlink /mnt/link)" = ../nowhere ] || fail "a symbolic link"
ln /mnt/long /mnt/longer
[ "$(stat -c %h /mnt/long)" = 2 ] || fail "a hard link"
echo more >> /mnt/long
[ "$(tail -c 5 /mnt/long)" = more ] || fail "append"
df /mnt > /dev/null || fail "df"
umount /mnt || fail "umount"
mount -t virtiofs -o "$options" shared /mnt || fail "mount again"
[ "$(tail -c 5 /mnt/long)" = more ] || fail "after another mount"
umount /mnt || fail "umount again"
echo "VMM-TEST $test PASS"
