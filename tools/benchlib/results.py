"""What a run of tools/bench leaves: sections of rows, as JSON, and where they were measured.

A section is {"command", "environment", "repeated", "rows"}: what stopped and was done again, in
words; "all" says how many rows there would be if none were missing. A row is {"group", "name",
"unit"} and either "samples", a list of numbers, or "exact", one; "base" names the row of the same
group and unit that its ratio is against; "counts" has further exact figures by their names, of one
operation. "commit" is of a row that is not of its section's commit.
"""

import json
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
JSON = ROOT / "docs/performance.json"


def output_of(*command):
    """Standard output of a command, "" if it cannot be run."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              stdin=subprocess.DEVNULL, check=False).stdout.strip()
    except OSError:
        return ""


def environment(build):
    """Where it is measured, and what."""
    cpus = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")]
    dirty = output_of("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no", "--",
                      ".", ":!docs")
    return {
        "host": f"{len(cpus)} x {cpus[0] if cpus else platform.machine()}",
        "kernel": f"Linux {platform.release()}",
        "kvm": (output_of(build / "vmm", "--check-host").splitlines() or ["KVM: none"])[0],
        "vmm": output_of(build / "vmm", "--version"),
        "commit": output_of("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD")
                  + (", changed" if dirty else ""),
        "qemu": output_of("qemu-system-x86_64", "--version").splitlines()[:1],
        "load": os.getloadavg()[0],
    }


def build(what):
    """The directory of the build, and the one of the programs of that mode."""
    lines = subprocess.run([ROOT / "tools/benchlib/build", what], check=True, text=True,
                           stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout.splitlines()
    return [Path(line) for line in lines]


def load(path):
    return json.loads(path.read_text()) if path.exists() else {}


def save(path, sections):
    """A row a line, so that a change of one figure is a change of one line."""
    parts = []
    for name, section in sections.items():
        fields = [f"{json.dumps(key)}: {json.dumps(value)}"
                  for key, value in section.items() if key != "rows"]
        rows = ",\n  ".join(json.dumps(row) for row in section["rows"])
        fields.append(f'"rows": [\n  {rows}\n ]')
        parts.append(json.dumps(name) + ": {\n " + ",\n ".join(fields) + "}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def merged(old, new):
    """The new section; if it is only a part, with those groups of the old one that it has not."""
    if not old or len(new["rows"]) >= new.get("all", 0):
        return new
    groups = {row["group"] for row in new["rows"]}
    commit = old["environment"]["commit"]
    mark = {"commit": commit} if commit != new["environment"]["commit"] else {}
    rows = [mark | row for row in old["rows"] if row["group"] not in groups] + new["rows"]
    order = list(dict.fromkeys(row["group"] for row in old["rows"] + new["rows"]))
    return new | {"rows": sorted(rows, key=lambda row: order.index(row["group"]))}


def row(group, name, unit, samples=None, **fields):
    return {"group": group, "name": name, "unit": unit,
            **({} if samples is None else {"samples": samples}), **fields}
