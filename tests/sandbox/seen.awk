# Which system calls each kind of thread makes once it is confined: of traces by strace -f -o, in
# which ioctl is raw, prints lines of KIND, CALL and, for an ioctl, its request; a pool's kind is
# "pool" and its threads' name. In a program that has no sandbox, a unit test, a pool's thread is
# known by its name, and is taken for confined.
function kind_of(name) {
    if (name == "main")
        return name
    if (name ~ /^vcpu[0-9]/)
        return "vcpu"
    if (name ~ /^io[0-9]/)
        return "loop"
    return name == "slirp" ? name : "pool " name
}
FNR == 1 {
    delete kind
    delete confined
    kind[$1] = "main"
}
{
    pid = $1
    call = $2
    if (!match(call, /^[a-z_0-9]+\(/))
        next
    sub(/\(.*/, "", call)
}
call == "prctl" && match($0, /PR_SET_NAME, "[^"]*"/) {
    name = substr($0, RSTART + 14, RLENGTH - 15)
    kind[pid] = kind_of(name)
    confined[pid] = name ~ /^(fs|io-worker)/
    next
}
call == "landlock_restrict_self" || call == "prctl" { # on the way in
    next
}
call == "seccomp" && /SECCOMP_SET_MODE_FILTER/ { # with arguments that a trace has in the middle
    confined[pid] = 1
    next
}
confined[pid] {
    request = ""
    if (call == "ioctl") {
        request = $3
        sub(/[,)].*/, "", request)
        request = "\t" request
    }
    seen[kind[pid] "\t" call request] = 1
}
END {
    for (what in seen)
        print what
}
