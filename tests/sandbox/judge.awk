# The lists (sandbox-gen --lists, the first file) against what threads were seen to make (the others,
# as seen.awk prints it; # begins a comment). Prints rows that nothing was seen to need and that have
# no written reason, and calls that pools were seen to make, in unit tests, where nothing confines
# them, and that have no row. What an argument has to be is looked at for ioctl only.
BEGIN {
    FS = "\t"
}
FILENAME != file {
    file = FILENAME
    files++
}
/^#/ {
    next
}
files == 1 {
    split($4, condition, " ")
    request = $3 == "ioctl" && condition[3] != "" ? "\t" condition[3] : ""
    rows[++n] = $1 "\t" $3 request
    lists[n] = $2
    why[n] = $5
    has_row[rows[n]] = 1
    next
}
{
    what = $2 (NF > 2 ? "\t" $3 : "")
    seen[$1 "\t" what] = 1
    own = has_row[$1 "\t" what]
    if ($1 ~ /^pool /) {
        seen["pool\t" what] = 1
        own = own || has_row["pool\t" what]
    }
    if (!own && $1 ~ /^pool (fs|io-worker)/ && !(($1, what) in told)) {
        print "no row: " $1 "\t" what
        told[$1, what] = 1
    }
}
END {
    for (i = 1; i <= n; i++) {
        if (!(rows[i] in seen) && why[i] == "")
            print "no use: " rows[i] "\t(" lists[i] ")"
        else if (rows[i] in seen)
            used++
        else
            reasons++
    }
    printf "%d rows seen to be needed, %d with a reason alone\n", used, reasons > "/dev/stderr"
}
