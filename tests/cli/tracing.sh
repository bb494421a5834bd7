#!/bin/bash
# Tests what a tracer needs of the built program: with "probes", that it has each static probe, as a
# nop at its place; always, that functions keep a frame pointer.
#
# usage: tracing.sh VMM [probes]
#
# Prints what is missing; status 1 if anything is.

set -u
vmm=$1
failed=0
fail() {
    echo "FAIL $*"
    failed=1
}

# The code of a function, an instruction a line: "ADDRESS: MNEMONIC OPERANDS".
code_of() {
    objdump -d --no-show-raw-insn --disassemble="$1" "$vmm" | sed -n 's/^ *\([0-9a-f]*\):\t/\1: /p'
}

if [[ ${2:-} == probes ]]; then
    notes=$(readelf -n "$vmm" | awk '
        $1 == "Provider:" { provider = $2 }
        $1 == "Name:" { name = $2 }
        $1 == "Location:" { sub(/^0x0*/, "", $2); sub(/,$/, "", $2); print provider, name, $2 }')
    for probe in notify submit complete inject; do
        grep -q "^vmm $probe " <<< "$notes" || fail "there is no probe $probe"
    done
    code=$(objdump -d --no-show-raw-insn "$vmm")
    while read -r provider probe at; do
        [[ $provider == vmm ]] || continue
        grep -qE "^ *$at:[[:space:]]+nop *$" <<< "$code" || fail "probe $probe is no nop at $at"
    done <<< "$notes"
fi

for function in vq_next vq_complete loop_post main; do
    code_of "$function" | grep -qE ': mov +%rsp,%rbp *$' || fail "$function keeps no frame pointer"
done
exit $failed
