"""tools/bench lab: our VMM and QEMU do the same work in the laboratory, where it can be counted.

With --icount an emulated instruction is a nanosecond, whatever else this host does: virtual
time is the instructions of guest, VMM and the laboratory's kernel together. Each group of rows
is one laboratory, in which every VMM boots the same kernel and does the same work, in turns
(host.c and guest.c, which say how). The disk and the shared folder are in the laboratory's
memory.

A laboratory that stops is started again for what is missing, and a VMM that stops loses what it was
about; rows that were whole by then are kept. What was done again is in the section.
"""

import collections
import re
import shlex
import shutil
import subprocess

from benchlib import results

SPLIT = ("VMM ns", "host kernel ns", "guest ns")
COUNTS = ("exits", "exits to the VMM", "system calls", "interrupts", "switches")
CMDLINE = "console=hvc0 quiet panic=-1"
MICROVM, Q35 = "QEMU microvm", "QEMU q35"
ATTEMPTS = 8

SAMPLES, BOOTS = 10, 3  # of a row; of a group that is nothing but boots
PLAIN = ("vmm", MICROVM, Q35)

# Which VMMs, which kernel, and what is done, as (row, unit, command of the guest); a command
# without a row comes before those that need it.
Group = collections.namedtuple("Group", "vmms kernel work")


def disk_work():
    work = []
    for way in ("read", "write"):
        for depth, operations in ((1, 100), (8, 160), (32, 320)):
            work.append((f"4 KiB random {way}, depth {depth}", f"ns/{way}",
                         f"blk {way} random 4096 {depth} {operations}"))
    for way in ("read", "write"):
        work.append((f"4 KiB sequential {way}, depth 32", f"ns/{way}",
                     f"blk {way} seq 4096 32 320"))
    for way in ("read", "write"):
        for depth in (1, 8):
            work.append((f"128 KiB sequential {way}, depth {depth}", f"ns/{way}",
                         f"blk {way} seq 131072 {depth} 40"))
    return work


def stream_work(what, command, mib):
    return [(f"{what}, guest to host", "ns/MiB", f"{command} send {mib}"),
            (f"{what}, host to guest", "ns/MiB", f"{command} recv {mib}"),
            (f"{what}, request and response", "ns/exchange", f"{command} ping 50")]


GROUPS = {
    "boot": Group(PLAIN, "vmlinux", []),
    "bzimage": Group(PLAIN, "bzImage", []),
    "blk": Group(PLAIN, "vmlinux", disk_work()),
    "rings": Group(tuple(f"vmm {keys}" for keys in (
        "split", "event_idx=off", "indirect=off", "packed=on", "packed=on,event_idx=off",
        "packed=on,indirect=off", "transport=pci-transitional", "transport=pci-legacy",
        "transport=mmio", "transport=mmio,packed=on")), "vmlinux",
        [work for work in disk_work() if work[0].startswith("4 KiB random read")]),
    "tap": Group(PLAIN, "vmlinux", stream_work("TCP by tap", "tcp 10.9.0.1", 2)),
    "user": Group(PLAIN, "vmlinux", stream_work("TCP by the user back end", "tcp 10.0.2.2", 2)),
    "vsock": Group(("vmm", Q35), "stock", stream_work("vsock", "vsock", 10)),
    "fs": Group(("vmm",), "stock", [
        ("", "", "mount dax=never"), ("10 MiB of a file, not cached", "ns/MiB", "file 10"),
        ("", "", "mount dax=always"), ("10 MiB of a file, DAX", "ns/MiB", "file 10")]),
}


# ---- The VMMs ----

def our_command(group, keys):
    devices = {
        "blk": ["--disk", f"disk{keys}"], "tap": ["--net", "tap,ifname=tap0"],
        "user": ["--net", "user"], "vsock": ["--device", "vsock,cid=3,uds=vsock"],
        "fs": ["--device", "fs,folder,tag=shared,dax=64M"],
    }
    devices["boot"] = devices["bzimage"] = devices["rings"] = devices["blk"]
    return ["./vmm", "--kernel", "kernel", "--initrd", "initrd", "--mem", "256M", *devices[group],
            "--on-reboot", "exit", "--cmdline", CMDLINE]


def qemu_command(group, microvm):
    """With what makes QEMU fast: io_uring, and a thread for the disk. microvm has no PCI, and here
    virtio in its current form; q35's network card comes without firmware to boot from."""
    bus = "device" if microvm else "pci"
    thread = ["-object", "iothread,id=io"]
    net = f"virtio-net-{bus},netdev=net" + ("" if microvm else ",romfile=")
    devices = {
        "blk": [*thread, "-drive", "file=disk,format=raw,if=none,id=disk,aio=io_uring",
                "-device", f"virtio-blk-{bus},drive=disk,iothread=io"],
        "tap": ["-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no", "-device", net],
        "user": ["-netdev", "user,id=net", "-device", net],
        "vsock": ["-device", "vhost-vsock-pci,guest-cid=4"],
    }
    devices["boot"] = devices["bzimage"] = devices["blk"]
    machine = (["-M", "microvm,acpi=on,rtc=on", "-global", "virtio-mmio.force-legacy=false"]
               if microvm else ["-M", "q35"])
    return ["./qemu-system-x86_64", "-L", "/usr/share/qemu", "-L", "/usr/share/seabios", *machine,
            "-accel", "kvm", "-cpu", "host", "-m", "256M", "-nodefaults", "-no-user-config",
            "-no-reboot", "-display", "none",
            "-kernel", "kernel", "-initrd", "initrd", "-append", CMDLINE,
            "-chardev", "stdio,id=stdio,signal=off", "-device", f"virtio-serial-{bus}",
            "-device", "virtconsole,chardev=stdio", *devices[group]]


def command_of(group, vmm):
    if vmm in (MICROVM, Q35):
        return qemu_command(group, vmm == MICROVM)
    keys = vmm.removeprefix("vmm").strip().removeprefix("split")
    return our_command(group, f",{keys}" if keys else "")


# ---- One laboratory ----

BEFORE = {
    "tap": "./ip tuntap add tap0 mode tap\nip address add 10.9.0.1/24 dev tap0\n"
           "ip link set tap0 up\n",
    "fs": "mkdir folder && head -c 10485760 /dev/urandom > folder/data\n",
}
PEER = "rm -f vsock_7000; ./guest peer vsock_7000 &\n"


def script(group, boots, attempt):
    """Of (vmm, samples, rows): what the laboratory runs. Names have no spaces there. What
    stopped would stop again at the very same instruction, if nothing were different."""
    text = f"usleep {attempt * 7919}\nhead -c 33554432 /dev/urandom > disk\n"
    text += BEFORE.get(group, "") + PEER
    for vmm, samples, rows in boots:
        work = enumerate(GROUPS[group].work)
        lines = [f"{i if title else ''}\t{command}"
                 for i, (title, _, command) in work if i in rows or not title]
        text += shlex.join(["printf", "%s\\n", *lines]) + " > rows\n"
        text += shlex.join(["./host", vmm.replace(" ", "~"), str(samples), "rows",
                            *command_of(group, vmm)]) + "\n"
    return text + "true\n"


class Found:
    """What laboratories said: rows that are whole, by VMM and number; boots that ended, their modes
    and counts; and what of it stopped, as words."""

    def __init__(self, group):
        self.group = group
        self.rows, self.boots = {}, collections.defaultdict(list)
        self.modes, self.counts, self.stopped = {}, {}, []

    def stop(self, vmm, row):
        work = GROUPS[self.group].work
        self.stopped.append(f"{vmm}, {'its boot or end' if row is None else work[row][0]}")

    def take(self, lines):
        """Returns whether a VMM was under way when they ended."""
        vmm, row, boot, times, split = None, None, None, [], []
        for line in lines:
            match = re.search(r"bench (start|boot|modes|counts|row|time|split|count|end|stopped) "
                              r"(\S+) ?(.*)", line)
            if not match:
                continue
            kind, words = match[1], match[3].split()
            if kind == "start":
                vmm, row, boot = match[2].replace("~", " "), None, None
            elif vmm is None:
                continue
            elif kind == "stopped":
                self.stop(vmm, row)
                vmm = None
            elif kind == "boot":
                boot = int(words[0])
            elif kind in ("modes", "counts"):
                getattr(self, kind)[vmm], boot = [int(word) for word in words], None
            elif kind == "row":
                row, times = int(words[0]), []
            elif kind == "time":
                times.append(round(int(words[2]) / int(words[1]), 1))
            elif kind == "split":
                split = [int(n) / int(words[1]) for n in words[2:]]
            elif kind == "count":
                self.rows[vmm, row] = (times, [int(n) / int(words[1]) for n in words[2:]], split)
                row = None
            else:
                self.boots[vmm] += [boot] if boot else []
                vmm = None
        if vmm:
            self.stop(vmm, row)
        return vmm is not None

    def missing(self, wanted):
        """Boots, in turns, the other way around every other time: (vmm, samples, numbers of rows);
        instead of samples, what is asked of a boot whose time is not used."""
        spec, todo = GROUPS[self.group], []
        if spec.work:
            for vmm in spec.vmms:
                rows = {i for i in wanted if (vmm, i) not in self.rows}
                todo += [(vmm, SAMPLES, rows)] if rows else []
            return todo
        for turn in range(BOOTS):
            for vmm in spec.vmms[::1 - 2 * (turn % 2)]:
                todo += [(vmm, 1, ())] if len(self.boots[vmm]) <= turn else []
        return todo + [(vmm, what, ()) for what in ("modes", "counts") for vmm in spec.vmms
                       if vmm not in getattr(self, what)]


class Lab:
    """Laboratories for the groups of one run."""

    def __init__(self, work, say):
        self.work, self.say = work, say
        self.build, self.programs = results.build("lab")
        self.environment = results.environment(self.build)
        micro = results.output_of(results.ROOT / "tools/guest-kernel")
        stock = results.output_of(results.ROOT / "tools/debian-kernel")
        self.kernels = {"vmlinux": f"{micro}/vmlinux", "bzImage": f"{micro}/bzImage",
                        "stock": f"{stock}/vmlinuz"}

    def boot(self, found, boots, attempt):
        """Whether it came to an end; what it says is taken as it comes."""
        group, spec = found.group, GROUPS[found.group]
        (self.work / "boots.sh").write_text(script(group, boots, attempt))
        initrd = "stock" if spec.kernel == "stock" else "micro"
        puts = [f"{self.build}/vmm:vmm", f"{self.kernels[spec.kernel]}:kernel",
                f"{self.programs}/{initrd}.cpio:initrd", f"{self.programs}/host:host",
                f"{self.programs}/guest:guest", f"{self.work}/boots.sh:boots.sh",
                shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin"),
                shutil.which("qemu-system-x86_64")]
        command = [results.ROOT / "tools/lab", "--icount", "--timeout", "3600", "--put-tree",
                   "/usr/share/qemu", "--put-tree", "/usr/share/seabios"]
        for put in puts:
            command += ["--put", put]
        with (subprocess.Popen([*command, "--", "sh", "boots.sh"], stdout=subprocess.PIPE, text=True,
                               errors="replace", stdin=subprocess.DEVNULL) as lab,
              (self.work / f"{group}-{attempt + 1}.log").open("w", buffering=1) as log):
            try:
                under_way = found.take(self.read(lab.stdout, log))
            finally:
                lab.terminate()  # if this program was told to end: QEMU must not be left behind
        if lab.returncode != 0 and not under_way:
            found.stopped.append("the laboratory itself")

    def read(self, lines, log):
        for line in lines:
            log.write(line)
            if "bench stopped" in line:
                self.say(line.strip())
            yield line

    def group(self, group, wanted):
        """Sections of these rows, each with more than the one before, until everything is there or
        it stops too often."""
        found = Found(group)
        for attempt in range(ATTEMPTS):
            todo = found.missing(wanted)
            if not todo:
                break
            self.say(f"in the laboratory: {group}, {len(todo)} boots")
            # Another one first each time: it may be the one that stops.
            first = attempt % len(todo)
            self.boot(found, todo[first:] + todo[:first], attempt)
            yield {"command": f"tools/bench lab {group}", "environment": self.environment,
                   "repeated": found.stopped, "rows": rows_of(found),
                   "all": rows_when_whole(GROUPS[group])}


# ---- Rows ----

OF_A_BOOT = (("VMM's own code", 0), ("host's kernel", 1), ("guest", 2))


def rows_of(found):
    spec = GROUPS[found.group]
    base = Q35 if Q35 in spec.vmms else spec.vmms[0]
    if not spec.work:
        return boot_rows(f"to process 1, {spec.kernel}", spec, found)
    made = []
    for i, (title, unit, _) in enumerate(spec.work):
        for vmm in spec.vmms:
            if (vmm, i) in found.rows:
                times, counts, split = found.rows[vmm, i]
                made.append(results.row(
                    title, vmm, unit, times, **({"base": base} if len(spec.vmms) > 1 else {}),
                    counts=dict(zip(COUNTS + SPLIT, (round(n, 3) for n in counts + split)))))
    return made


def boot_rows(title, spec, found):
    rows = []
    for vmm in spec.vmms:
        times = [round(ns / 1e6, 3) for ns in found.boots[vmm]]
        if times:
            counts = {"counts": dict(zip(COUNTS, found.counts[vmm]))} if vmm in found.counts else {}
            rows.append(results.row(title, vmm, "ms", times, base=MICROVM, **counts))
    for what, mode in OF_A_BOOT:
        for vmm in spec.vmms:
            if vmm in found.modes:
                rows.append(results.row(f"{title}: of it the {what}", vmm, "ms",
                                        exact=round(found.modes[vmm][mode] / 1e6, 2), base=MICROVM))
    return rows


def rows_when_whole(spec):
    titles = sum(1 for title, _, _ in spec.work if title) if spec.work else 1 + len(OF_A_BOOT)
    return len(spec.vmms) * titles


def rows_named(name):
    """(group, numbers of its rows) of "GROUP", or of "GROUP/TEXT": rows with the text in them."""
    group, _, text = name.partition("/")
    if group not in GROUPS:
        raise ValueError(f"there is no group {group}")
    rows = {i for i, (title, _, _) in enumerate(GROUPS[group].work) if title and text in title}
    if text and not rows:
        raise ValueError(f"no row of {group} has this in it: {text}")
    return group, rows


def run(work, names, say):
    lab = Lab(work, say)
    return ((f"lab {group}", section) for group, rows in map(rows_named, names)
            for section in lab.group(group, rows))
