"""What the project wants to reach, and what of it the figures of docs/performance.json say."""

from benchlib import stats

OURS, MICROVM = "vmm", "QEMU microvm"


class Figures:
    """All rows by section, group and name; a question about what is not there is a KeyError."""

    def __init__(self, sections):
        self.rows = {(section, row["group"], row["name"]): row
                     for section, some in sections.items() for row in some["rows"]}

    def find(self, section, group, *words):
        """The row whose name has all the words."""
        for (s, g, name), row in self.rows.items():
            if s == section and g == group and all(word in name for word in words):
                return row
        raise KeyError(group)

    def value(self, *place):
        return value(self.find(*place))

    def value_of(self, *place):
        return value(self.rows[place])

    def ratio(self, section, group, *peers):
        """Of ours to QEMU's: to that machine of it which is faster, if none is named."""
        peers = peers or [name for s, g, name in self.rows
                          if (s, g) == (section, group) and name.startswith("QEMU")]
        if not peers:
            raise KeyError(group)
        return (value(self.rows[section, group, OURS])
                / min(value(self.rows[section, group, name]) for name in peers))

    def count(self, section, group, name):
        return self.rows[section, group, OURS]["counts"][name]


def value(row):
    return row["exact"] if "exact" in row else stats.median(row["samples"])


def low(row):
    return (stats.interval(row["samples"]) or [value(row)])[0]


def high(row):
    return (stats.interval(row["samples"]) or [value(row)])[-1]


# Each returns (text, reached): reached is None where nobody can say.

def first_instruction(f):
    samples = f.find("start", "exec to the first instruction", "128 MiB", "disk", "net")["samples"]
    p50, p99 = stats.median(samples), stats.percentile(samples, 99)
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", p50 <= 1 and p99 <= 2


def memory(f):
    mib = f.value("start", "memory without the guest's, private", "128 MiB", "disk", "net") / 1024
    return f"{mib:.2f} MiB", mib <= 1.5


def create_and_destroy(f):
    one = f.value("start", "create and destroy", "128 MiB, disk, net", "one at a time")
    several = f.value("start", "create and destroy", "128 MiB, disk, ", "at a time", "disk, 1")
    return f"{several:.0f} several at a time; {one:.0f} one after the other", several >= 100


def boot(f):
    ratio = f.ratio("lab boot", "to process 1, vmlinux", MICROVM)
    own = f.ratio("lab boot", "to process 1, vmlinux: of it the VMM's own code", MICROVM)
    return f"{ratio:.2f} of its time; {own:.2f} of its VMM's code", ratio <= 1 and own <= 0.1


def depth_1(f):
    group = "4 KiB random read, depth 1"
    ratio, exits = f.ratio("lab blk", group), f.count("lab blk", group, "exits")
    return (f"{ratio:.2f} of its time; {exits:.2f} exits, the halt's with them",
            ratio <= 0.7 and exits <= 2)


def depth_32(f):
    words, good = [], True
    for way in ("read", "write"):
        group = f"4 KiB random {way}, depth 32"
        ratio = f.ratio("lab blk", group)
        exits, calls = (f.count("lab blk", group, name) for name in ("exits", "system calls"))
        words.append(f"{way}s: {ratio:.2f}, {exits:.2f} exits, {calls:.2f} calls")
        good = good and ratio <= 0.7 and exits <= 0.1 and calls <= 0.1
    return "; ".join(words), good


def tcp(f):
    ways = [f.ratio("lab tap", f"TCP by tap, {way}") for way in ("guest to host", "host to guest")]
    return f"to the host {ways[0]:.2f}, from it {ways[1]:.2f}", max(ways) <= 0.7


def beside(group, ours, peer, least):
    """Of the rig: each row whose name begins with ours against the one that has the peer's name in
    its place; the worst of them is judged. What has no such peer is not judged."""
    def judge(f):
        ratios = [(value(row) / f.value_of("rig", group, peer + name[len(ours):]), name)
                  for (s, g, name), row in f.rows.items()
                  if (s, g) == ("rig", group) and name.startswith(ours)
                  and ("rig", group, peer + name[len(ours):]) in f.rows]
        if not ratios:
            raise KeyError(group)
        worst, name = min(ratios)
        return f"least: {worst:.2f} ({name})", worst >= least
    return judge


def vsock(f):
    """Each way against memcpy()."""
    memcpy = f.value_of("rig", "vsock", "memcpy, 64 KiB")
    worst, name = min((value(row) / memcpy, name) for (s, g, name), row in f.rows.items()
                      if (s, g) == ("rig", "vsock")
                      and name.startswith(("guest to host", "host to guest")))
    return f"least: {worst:.2f} ({name})", worst >= 0.8


def queue(f):
    """Not slower: their intervals do not say so."""
    words, good = [], True
    for batch in (1, 32):
        split, packed = (f.rows["rig", "queue", f"{ring}, direct, batch {batch}"]
                         for ring in ("split", "packed"))
        words.append(f"batch {batch}: split {value(split) / 1e6:.1f}, "
                     f"packed {value(packed) / 1e6:.1f} million")
        good = good and min(value(split), value(packed)) >= 20e6 and (
            high(packed) >= low(split))
    return "; ".join(words), good


AIMS = (
    ("exec to the first guest instruction, host, disk and net",
     "p50 at most 1 ms, p99 at most 2 ms", first_instruction),
    ("private memory, 1 vCPU, 128 MiB, disk and net", "at most 1.5 MiB", memory),
    ("create and destroy", "at least 100 per second and core", create_and_destroy),
    ("boot to process 1, lab", "at most QEMU microvm's time, a tenth of its VMM's instructions",
     boot),
    ("4 KiB random read, depth 1, lab",
     "at most 0.7 of the faster QEMU's time, 1 exit beyond the halt", depth_1),
    ("4 KiB random, depth 32, lab",
     "at most 0.7 of the faster QEMU's time, 0.1 exits, 0.1 system calls", depth_32),
    ("block, rig, page cache and O_DIRECT", "at least 0.9 of fio's",
     beside("block", "device", "fio", 0.9)),
    ("queue alone, rig", "at least 20 million requests per second and core, packed not slower",
     queue),
    ("TCP stream through tap, lab", "at most 0.7 of the faster QEMU's time, both ways", tcp),
    ("vsock, rig", "at least 0.8 of memcpy", vsock),
    ("fs with DAX, rig", "at least 0.8 of plain file reads",
     beside("fs", "DAX, mapped", "pread, 128 KiB", 0.8)),
)


def judged(sections):
    """(what, aim, what was reached, "yes", "no" or "-") of each."""
    figures, made = Figures(sections), []
    for what, aim, judge in AIMS:
        try:
            reached, good = judge(figures)
        except KeyError:
            made.append((what, aim, "not measured yet", "-"))
        else:
            made.append((what, aim, reached, "yes" if good else "no"))
    return made
