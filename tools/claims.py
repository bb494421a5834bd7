"""What tests say of themselves while they run (tests/rig/claim.h), for tools/conformance and
tools/attacks: it runs those of a build that have something to say, and tells who passed."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# ids: as in the source; test: suite::name, or the program's name where there are none
Claim = collections.namedtuple("Claim", "ids test where file")


def read_table(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def run_program(command, variable):
    """Its claims, and for each of its tests, and for itself: did it pass?"""
    with tempfile.TemporaryDirectory() as work:
        made, report = pathlib.Path(work, "claims"), pathlib.Path(work, "report.tap")
        made.touch()
        report.touch()
        done = subprocess.run([*command, f"--tap={report}"], check=False,
                              env=os.environ | {variable: str(made)}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        passed = {pathlib.Path(command[0]).name: done.returncode == 0}
        for word, name in re.findall(r"^(not ok|ok) - (\S+::\S+)", report.read_text(), re.M):
            passed[name] = passed.get(name, True) and word == "ok"
        return {Claim(*line[:4]) for line in read_table(made)}, passed


def run_tests(build, variable):
    """Runs the programs of ctest that make claims by this variable. The claims that were made, and
    for each test: did it pass?"""
    claims, passed = set(), {}
    if not (build / "CTestTestfile.cmake").exists():
        sys.exit(f"{build}: is no build with tests")
    listing = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"],
                             check=True, capture_output=True, text=True).stdout
    for test in json.loads(listing)["tests"]:
        command = test.get("command")
        if command and variable.encode() in pathlib.Path(command[0]).read_bytes():
            made, results = run_program(command, variable)
            claims |= made
            passed |= results
    return claims, passed


def markdown(lines):
    """Lines of cells as a table."""
    head, *rest = lines
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for cells in rest:
        yield "| " + " | ".join(cells) + " |"


def print_lints(lints):
    """Pairs of a name and a function that yields what is wrong. Is all well?"""
    good = True
    for name, lint in lints:
        found = list(lint())
        for line in found or [name]:
            print("FAIL" if found else "PASS", line)
        good = good and not found
    return good
