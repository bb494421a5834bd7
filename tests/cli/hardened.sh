#!/bin/bash
# Tests that the built program has what hardens it (docs/threat-model.md), by what each flag of the
# compiler and the linker leaves behind, in code of ours: archives that are linked in have theirs.
#
# usage: hardened.sh VMM LEVEL   LEVEL: of _FORTIFY_SOURCE
#
# Prints what is missing, and the flag; status 1 if anything is.

set -u
vmm=$1 level=$2
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}

# The code of a function, an instruction a line.
code_of() {
    objdump -d --no-show-raw-insn --disassemble="$1" "$vmm" | sed -n 's/^ *[0-9a-f]*:\t//p'
}

segments=$(readelf -lW "$vmm") dynamic=$(readelf -dW "$vmm")
grep -q '(FLAGS_1).* PIE' <<< "$dynamic" || fail "it has a fixed address (-fPIE -pie)"
grep -q '(FLAGS) .*BIND_NOW' <<< "$dynamic" || fail "functions are bound when called (-z now)"
grep -q ' GNU_RELRO ' <<< "$segments" || fail "what the loader filled in stays writable (-z relro)"
grep -qE ' GNU_STACK .* RW +0x' <<< "$segments" || fail "the stack is executable (-z noexecstack)"
grep -qE ' LOAD .* R?WE ' <<< "$segments" && fail "a segment is both writable and executable"
# Which would begin with the file's headers, and end with constants.
awk '/ LOAD .* R E / && $2 != "0x000000" { n++ } END { exit n != 1 }' <<< "$segments" ||
    fail "code shares pages with what is not code (-z separate-code)"

code_of main | head -n 1 | grep -q '^endbr64' || fail "no marked branch targets (-fcf-protection)"
code_of main | grep -q '<__stack_chk_fail' || fail "no guarded stack (-fstack-protector-strong)"
code_of err_set | grep -q '<__vsnprintf_chk' || fail "no sizes are checked (_FORTIFY_SOURCE=2)"
# Of what was allocated, only level 3 knows the size.
[[ $level -lt 3 ]] || code_of api_config_load | grep -q '<__pread_chk' ||
    fail "sizes of what is allocated are not checked (_FORTIFY_SOURCE=3)"

# A frame of more than a page is taken page by page, or a guard page could be stepped over.
frames=$(objdump -d --no-show-raw-insn "$vmm" | awk '
    /^[0-9a-f]+ </ { name = $2 }
    /sub +\$0x[0-9a-f]+,%rsp/ {
        size = $0
        gsub(/.*\$0x|,%rsp.*/, "", size)
        if (length(size) >= 4 && length(size) < 9)
            print size == "1000" ? "taken" : "stepped", name
    }')
grep -q '^taken ' <<< "$frames" || fail "no frame is taken page by page (-fstack-clash-protection)"
stepped=$(sed -n 's/^stepped //p' <<< "$frames" | tr -d '\n')
[[ -z $stepped ]] || fail "frames of more than a page in $stepped (-fstack-clash-protection)"
exit $failed
