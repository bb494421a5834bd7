"""tools/bench rig: native speed without a guest, as the program bench_rig tells it (tests/).

It prints lines of JSON, one for a sample, {"group", "name", "unit", "sample"}, or for what is
counted, {"group", "name", "unit", "exact"}; "base" names the row that a ratio is against.
"""

import json
import subprocess

from benchlib import results


def collect(lines):
    """Rows of results.py, in the order in which they appear first."""
    rows = {}
    for line in lines:
        if not line.startswith("{"):
            continue
        said = json.loads(line)
        key = (said["group"], said["name"], said["unit"])
        row = rows.setdefault(key, results.row(*key))
        if "base" in said:
            row["base"] = said["base"]
        if "exact" in said:
            row["exact"] = said["exact"]
        else:
            row.setdefault("samples", []).append(said["sample"])
    return list(rows.values())


def run(work):
    build = results.build("rig")[0]
    environment = results.environment(build)
    environment["fio"] = results.output_of("fio", "--version")
    program = subprocess.run([build / "tests/bench_rig"], cwd=work, stdout=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, text=True, check=True)
    return {"rig": {"command": "tools/bench rig", "environment": environment, "repeated": 0,
                    "rows": collect(program.stdout.splitlines())}}
