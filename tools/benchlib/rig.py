"""tools/bench rig: native speed without a guest, as the program bench_rig tells it (tests/).

It prints lines of JSON, one for a sample, {"group", "name", "unit", "sample"}, or for what is
counted, {"group", "name", "unit", "exact"}; "base" names the row that a ratio is against.
"""

import json
import subprocess

from benchlib import results


def collect(lines):
    """Rows of results.py, in the order in which they appear first. What is counted of work that has
    samples too is a column of that row."""
    rows, counts = {}, {}
    for line in lines:
        if not line.startswith("{"):
            continue
        said = json.loads(line)
        key = (said["group"], said["name"], said["unit"])
        if "exact" in said:
            counts[key] = said["exact"]
            continue
        row = rows.setdefault(key, results.row(*key, []))
        row["samples"].append(said["sample"])
        if "base" in said:
            row["base"] = said["base"]
    for (group, name, unit), exact in counts.items():
        of_it = [row for key, row in rows.items() if key[:2] == (group, name)]
        if of_it:
            of_it[0].setdefault("counts", {})[unit] = exact
        else:
            rows[group, name, unit] = results.row(group, name, unit, exact=exact)
    return list(rows.values())


def run(work):
    build = results.build("rig")[0]
    environment = results.environment(build)
    environment["fio"] = results.output_of("fio", "--version")
    program = subprocess.run([build / "tests/bench_rig"], cwd=work, stdout=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, text=True, check=True)
    return {"rig": {"command": "tools/bench rig", "environment": environment, "repeated": [],
                    "rows": collect(program.stdout.splitlines())}}
