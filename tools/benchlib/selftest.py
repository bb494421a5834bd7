"""tools/bench --self-test: the arithmetic, and the report of figures whose answers are known.

Each line is PASS or FAIL and what it was about, as tools/test counts them.
"""

import copy
import tempfile
import xml.dom.minidom
from pathlib import Path

from benchlib import aims, lab, profile, report, results, rig, stats, svg

PEER = "QEMU microvm"
ENVIRONMENT = {"host": "2 x CPU", "kernel": "Linux 6", "kvm": "KVM: none", "vmm": "vmm 0",
               "commit": "c0ffee", "qemu": ["QEMU 7"], "load": 0.5}
OUTPUT = """bench start vmm
bench boot vmm 1000000000
bench row vmm 0
bench time vmm 0 10 1000
bench time vmm 0 10 3000
bench split vmm 0 100 1000 2000 3000
bench count vmm 0 10 5 10 20 0 1
bench end vmm
junk bench start QEMU~microvm
bench boot QEMU~microvm 2000000000
bench row QEMU~microvm 0
bench time QEMU~microvm 0 10 4000
bench split QEMU~microvm 0 100 1000 2000 3000
bench count QEMU~microvm 0 10 50 10 20 0 1
bench row QEMU~microvm 1
bench time QEMU~microvm 1 10 4000
bench stopped QEMU~microvm the guest says nothing
bench end QEMU~microvm
bench start QEMU~q35
bench boot QEMU~q35 3000000000
bench row QEMU~q35 0
bench time QEMU~q35 0 10 8000
bench split QEMU~q35 0 100 1000 2000 3000
bench count QEMU~q35 0 10 50 10 20 0 1
bench row QEMU~q35 1
bench time QEMU~q35 1 10 9000
""".splitlines()
BOOTS = ["bench start vmm", "bench boot vmm 5", "bench modes vmm 1 2 3", "bench end vmm",
         "bench start vmm", "bench boot vmm 6", "bench end vmm"]


def check(what, found, wanted):
    print(f"PASS {what}" if found == wanted else f"FAIL {what}: {found!r}, not {wanted!r}")
    return found == wanted


def check_stats():
    ten = [7, 1, 9, 3, 10, 2, 8, 4, 6, 5]
    return [
        check("median of an even number", stats.median(ten), 5.5),
        check("median of an odd number", stats.median([3, 1, 2]), 2),
        check("percentile", stats.percentile(range(101), 99), 99),
        # Binomial tables: of 10 the 2nd and 9th (97.9 %), of 6 the ends, of 25 the 8th and 18th.
        check("interval of 10", stats.interval(ten), (2, 9)),
        check("interval of 6", stats.interval([6, 5, 4, 3, 2, 1]), (1, 6)),
        check("interval of 25", stats.interval(range(1, 26)), (8, 18)),
        check("no interval of 5", stats.interval([1, 2, 3, 4, 5]), None),
        check("no interval of nothing", stats.interval([]), None),
    ]


def check_parsers():
    found, boots, rings = lab.Found("blk"), lab.Found("boot"), lab.Found("rings")
    under_way = found.take(OUTPUT)
    boots.take(BOOTS)
    rings.take(["bench start vmm~event_idx=off", "bench boot vmm~event_idx=off 5",
                "bench end vmm~event_idx=off"])
    wanted = lab.rows_named("blk")[1]
    todo = [(vmm, len(rows)) for vmm, _, rows in found.missing(wanted)]
    ended = dict(boots.boots)
    again = [(vmm, samples) for vmm, samples, _ in boots.missing(())]
    others = [PEER, "QEMU q35"]
    lines = ['noise', '{"group": "g", "name": "a", "unit": "u", "sample": 1.0}',
             '{"group": "g", "name": "b", "unit": "u", "exact": 3}',
             '{"group": "g", "name": "a", "unit": "c", "exact": 4}',
             '{"group": "g", "name": "a", "unit": "u", "sample": 2.0, "base": "b"}']
    return [
        check("rows that are whole, whatever stopped", list(found.rows),
              [("vmm", 0), (PEER, 0), ("QEMU q35", 0)]),
        check("what stopped", (under_way, found.stopped),
              (True, [f"{vmm}, 4 KiB random read, depth 8" for vmm in (PEER, "QEMU q35")])),
        check("boots that ended, and are for their time", ended, {"vmm": [6]}),
        check("time and counts of an operation", found.rows["vmm", 0],
              ([100.0, 300.0], [0.5, 1.0, 2.0, 0.0, 0.1], [10.0, 20.0, 30.0])),
        check("rows that are missing", todo,
              [(vmm, len(wanted) - 1) for vmm in ("vmm", PEER, "QEMU q35")]),
        check("boots that are missing, in turns", again,
              [(vmm, 1) for vmm in [*others, "QEMU q35", PEER, "vmm", "vmm", *others]]
              + [(vmm, "modes") for vmm in others]
              + [(vmm, "counts") for vmm in ["vmm", *others]]),
        check("a row by its name", lab.rows_named("blk/random read, depth 8"), ("blk", {1})),
        check("a name with a space", list(rings.boots), ["vmm event_idx=off"]),
        check("modes", boots.modes, {"vmm": [1, 2, 3]}),
        check("the rig's lines", rig.collect(lines),
              [{"group": "g", "name": "a", "unit": "u", "samples": [1.0, 2.0], "base": "b",
                "counts": {"c": 4}}, {"group": "g", "name": "b", "unit": "u", "exact": 3}]),
    ]


def check_profile():
    """Where a copy is, a call is not; and what is around a sample is nowhere."""
    def sample(*functions):
        return "\n".join(["bench_rig", *(f"\t ffff {function}" for function in functions), ""])
    script = "\n".join([sample("_copy_from_iter", "__sys_sendmsg", "do_syscall_64", "piece"),
                        sample("skb_put", "__sys_sendmsg", "do_syscall_64", "piece"),
                        sample("vq_next", "piece"), sample("vq_next", "piece"),
                        sample("vq_next", "after")])
    return [check("places of samples", profile.shares(script),
                  {profile.USER: 0.5, "copying": 0.25, "sending": 0.25})]


def example():
    """A section with two names in each of two groups, and one of the aims in it."""
    rows = []
    for way in ("read", "write"):
        for name, ns, exits in (("vmm", 600, 0.05), ("QEMU microvm", 1000, 4)):
            rows.append(results.row(f"4 KiB random {way}, depth 32", name, f"ns/{way}",
                                    [ns + i for i in range(10)], base="QEMU microvm",
                                    counts={"exits": exits, "system calls": exits}))
    return {"lab blk": {"command": "tools/bench lab blk", "environment": ENVIRONMENT,
                        "repeated": ["vmm, its boot or end"] * 2, "rows": rows}}


def example_rig(direct):
    rows = [results.row("block", f"{who}, {how}, depth 8", "requests/s", [of] * 10)
            for who, how, of in (("fio", "direct", 100), ("device", "direct", direct),
                                 ("fio", "page cache", 100), ("device", "page cache", 500))]
    return {"rig": {"command": "tools/bench rig", "environment": ENVIRONMENT, "repeated": [],
                    "rows": rows}}


def verdict(sections):
    return {aim[0]: aim[3] for aim in aims.judged(sections)}


def check_report():
    sections = example()
    beaten = copy.deepcopy(sections)
    beaten["lab blk"]["rows"].append(
        results.row("4 KiB random write, depth 32", "QEMU q35", "ns/write", [800] * 10))
    worse = copy.deepcopy(sections)
    worse["lab blk"]["rows"][2]["counts"]["exits"] = 0.11
    busy = {"environment": ENVIRONMENT | {"load": 1.5}}
    page, drawn = report.page(sections)
    some = copy.deepcopy(sections)
    some["lab blk"]["all"] = 7
    block = "block, rig, page cache and O_DIRECT"
    many = example_rig(1)
    many["rig"]["rows"] = [
        results.row("rare", f"name {i}", "requests/s", [i + 1] * 6, base="name 0")
        for i in range(len(svg.COLOURS) + 1)]
    crowded = report.page(many)[1]
    aim = "4 KiB random, depth 32, lab"
    rows = [line for line in page.splitlines()
            if line.startswith("| 4 KiB random read, depth 32 |")]
    good = [
        check("an aim that is reached", verdict(sections)[aim], "yes"),
        check("an aim that is missed by one count", verdict(worse)[aim], "no"),
        check("an aim that only the slower peer makes reached", verdict(beaten)[aim], "no"),
        check("the rig's aim", verdict(example_rig(90))[block], "yes"),
        check("the rig's aim, missed by one row", verdict(example_rig(89))[block], "no"),
        check("an aim without a figure", verdict({})[aim], "-"),
        check("a row of the page", rows,
              ["| 4 KiB random read, depth 32 | vmm | ns/read | 604.5 | 601.0 to 608.0 | 10 | 0.60 "
               "| 0.05 | 0.05 |"]),
        check("missing ones are told", "Not there: 3 rows" in report.page(some)[0], True),
        check("and no others", "Not there" in page, False),
        check("repeated ones are told", "done again: vmm, its boot or end (2 times)." in page, True),
        check("many names have one colour", (">name 5</text>" in crowded["rig.svg"],
                                             svg.COLOURS[1] in crowded["rig.svg"]), (True, False)),
        check("a busy host is told", bool(report.busy("start", busy)), True),
        check("an idle one is not", report.busy("start", sections["lab blk"]), ""),
        check("a picture", list(drawn), ["lab-blk.svg"]),
    ]
    for file, picture in drawn.items():
        names = {node.tagName for node in
                 xml.dom.minidom.parseString(picture).getElementsByTagName("*")}
        good.append(check(f"{file} is XML", names, {"svg", "text", "rect", "line"}))
        good.append(check(f"{file} has what is measured", ">0.60</text>" in picture, True))
    return good


def check_files():
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        (root / "docs/performance").mkdir(parents=True)
        (root / "docs/performance/old.svg").touch()
        results.save(root / "all.json", example())
        loaded = results.load(root / "all.json")
        report.write(loaded, root)
        files = sorted(str(path.relative_to(root)) for path in root.glob("docs/**/*.*"))
    old, new = example()["lab blk"], example()["lab blk"]
    new["environment"] = ENVIRONMENT | {"commit": "f00d"}
    new["rows"], new["all"] = [row | {"unit": "s"} for row in new["rows"][2:]], 4
    part = results.merged(old, new)
    return [check("a part of a section", [(row.get("commit"), row["unit"]) for row in part["rows"]],
                  [("c0ffee", "ns/read")] * 2 + [(None, "s")] * 2),
            check("of which its commit is told", report.older(part),
                  "Of commit c0ffee: 4 KiB random read, depth 32."),
            check("all of a section", results.merged(old, new | {"all": 2})["rows"], new["rows"]),
            check("figures survive their file", loaded, example()),
            check("no file, no figures", results.load(root / "none.json"), {}),
            check("files of the page", files,
                  ["docs/performance.md", "docs/performance/lab-blk.svg"])]


def run():
    return all(check_stats() + check_parsers() + check_profile() + check_report() + check_files())
