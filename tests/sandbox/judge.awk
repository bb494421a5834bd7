# Which calls of the lists (sandbox-gen --lists, the first file) no thread was seen to make (what
# seen.awk printed, the second): prints KIND, LIST and CALL of those that have no written reason.
BEGIN {
    FS = "\t"
}
FNR == 1 {
    file++
}
file == 1 {
    split($4, condition, " ")
    request = $3 == "ioctl" && condition[3] != "" ? "\t" condition[3] : ""
    rows[++n] = $1 "\t" $3 request
    lists[n] = $2
    why[n] = $5
    next
}
{
    seen[$1 "\t" $2] = 1
    seen[$0] = 1
}
END {
    for (i = 1; i <= n; i++) {
        if (!(rows[i] in seen) && why[i] == "")
            print rows[i] "\t(" lists[i] ")"
        else if (why[i] == "")
            used++
        else
            reasons++
    }
    printf "%d rows seen, %d with a reason\n", used, reasons > "/dev/stderr"
}
