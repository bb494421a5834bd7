"""Holds the bill of materials against what it is of.

usage: sbom.py JSON VMM ARCHIVE...   ARCHIVE: the build linked with these

Prints what is wrong; status 1 if anything is."""

import json
import os
import subprocess
import sys

path, vmm, *archives = sys.argv[1:]
wrong = []


def must(so, what):
    if not so:
        wrong.append(what)


with open(path, encoding="utf-8") as f:
    bom = json.load(f)
must(bom.get("bomFormat") == "CycloneDX" and bom.get("specVersion") == "1.5", "not CycloneDX 1.5")
must(bom.get("version") == 1, "no version of its own")
version = subprocess.run([vmm, "--version"], check=True, capture_output=True, text=True).stdout
program = bom["metadata"]["component"]
must(f"{program['name']} {program['version']}\n" == version, f"{program} is not {version}")

linked = {}  # by the file's name
for c in bom["components"]:
    name = c.get("name")
    properties = [(p["name"], p["value"]) for p in c["properties"]]
    how = dict(properties)["vmm:linked"]
    files = [value for key, value in properties if key == "vmm:file"]
    must(c.get("type") == "library" and name and files, f"{name}: no library, or of no file")
    must(c["scope"] == ("optional" if how == "loaded" else "required"), f"{name}: {c['scope']}")
    for file in files:
        must(os.path.isfile(file), f"{name}: there is no {file}")
        must(os.path.basename(file) not in linked, f"{file} is there twice")
        linked[os.path.basename(file)] = how
    if os.path.exists("/var/lib/dpkg/status"):
        expected = f"/{name}@{c.get('version')}?arch=".replace("+", "%2B")
        must(c.get("version") and expected in c.get("purl", ""), f"{name}: no version, or no purl")
must(len({c["name"] for c in bom["components"]}) == len(bom["components"]), "a name is there twice")

needed = subprocess.run(["readelf", "-dW", vmm], check=True, capture_output=True, text=True).stdout
for line in needed.splitlines():
    if "(NEEDED)" in line:
        library = line.split("[")[1].rstrip("]")
        must(any(f.startswith(library) and h == "shared" for f, h in linked.items()),
             f"{library} is not told, or not as shared")
for archive in archives:
    if archive.endswith(".a"):
        must(linked.get(os.path.basename(archive)) == "within", f"{archive} is not told")
for library in "libslirp", "libmicrohttpd":
    must(any(f.startswith(library) and h == "loaded" for f, h in linked.items()),
         f"{library} is not told, or not as loaded")

print("\n".join("FAIL " + w for w in wrong), end="\n" if wrong else "")
sys.exit(1 if wrong else 0)
