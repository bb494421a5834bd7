"""tools/bench start: how long it takes from exec of the VMM to the guest's first instruction, what
memory a VMM is, and how often one can be made and ended.

On this host, with guests without firmware or kernel (tools/benchlib/build). The first
instruction is seen by a byte on the VMM's debug port, which it writes to its standard output:
so the dynamic linker, the whole set-up, the first entry into the guest, a port's exit, a pipe
and the reader's wake-up are in the time. "echo" is what an exec and the last two cost by
themselves. Rows take turns, one run each, so that whatever else this host does meets all of
them.
"""

import contextlib
import fcntl
import struct
import subprocess
import sys

from benchlib import results

SMALL = ("--mem", "128M", "--cpus", "1")
ORDER = ["exec to the first instruction", "memory without the guest's, PSS",
         "memory without the guest's, private", "create and destroy",
         "processor time of a VMM's life"]


@contextlib.contextmanager
def network():
    """What a guest is connected to: a tap interface, or the user back end where there is none."""
    name = "vmmbench0"
    set_interface, set_persistent = 0x400454CA, 0x400454CB  # <linux/if_tun.h>
    tap_with_header = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
    try:
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            fcntl.ioctl(tun, set_interface, struct.pack("16sH22x", name.encode(), tap_with_header))
            fcntl.ioctl(tun, set_persistent, 1)
    except OSError:
        yield "net (user)", ("--net", "user")
        return
    try:
        yield "net (tap)", ("--net", f"tap,ifname={name}")
    finally:
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            fcntl.ioctl(tun, set_interface, struct.pack("16sH22x", name.encode(), tap_with_header))
            fcntl.ioctl(tun, set_persistent, 0)


def rows_of(vmm, programs, disk, net_name, net):
    """Name, the guest's memory in KiB, command."""
    first = (vmm, "--kernel", programs / "first")
    return [
        ("echo, for scale", 0, ("echo", "!")),
        ("128 MiB", 128 << 10, (*first, *SMALL)),
        ("128 MiB, --sandbox off", 128 << 10, (*first, *SMALL, "--sandbox", "off")),
        (f"128 MiB, disk, {net_name}", 128 << 10, (*first, *SMALL, "--disk", disk, *net)),
        (f"2 GiB, 2 CPUs, disk, {net_name}, rng", 2 << 20,
         (*first, "--mem", "2G", "--cpus", "2", "--disk", disk, *net, "--device", "rng")),
    ]


def clock(programs, *words):
    run = subprocess.run([programs / "clock", *map(str, words)], stdout=subprocess.PIPE, text=True,
                         check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        raise SystemExit(f"bench: this did not do what it should: {' '.join(map(str, words))}")
    return [float(word) for word in run.stdout.split()]


def first_instruction(programs, rows, runs):
    samples = {name: [] for name, _, _ in rows}
    for turn in range(runs + 1):
        for name, ram, command in rows:
            figures = clock(programs, "first", ram, *command)
            if turn:  # the first one is to get warm
                samples[name].append(figures)
    made = []
    for name, ram, _ in rows:
        times, pss, private = zip(*samples[name])
        made.append(results.row("exec to the first instruction", name, "ms",
                                [round(us / 1000, 3) for us in times]))
        if ram:
            made.append(results.row("memory without the guest's, PSS", name, "KiB", list(pss)))
            made.append(results.row("memory without the guest's, private", name, "KiB",
                                    list(private)))
    return made


def create_and_destroy(programs, vmm, disk, net_name, net, rounds, cpus):
    """A guest that turns itself off at once, one after the other, and several at a time. Several
    cannot share a tap interface, nor write to one disk."""
    bare = (vmm, "--kernel", programs / "off", "--on-reboot", "exit", *SMALL)
    with_disk = (*bare, "--disk", f"{disk},ro")
    several = 8 * cpus
    rows = [("128 MiB, one at a time", 1, bare),
            (f"128 MiB, disk, {net_name}, one at a time", 1, (*with_disk, *net)),
            (f"128 MiB, {several} at a time", several, bare),
            (f"128 MiB, disk, {several} at a time", several, with_disk)]
    samples = {name: [] for name, _, _ in rows}
    for _ in range(rounds):
        for name, workers, words in rows:
            count = max(20, 4 * workers)
            seconds, cpu = clock(programs, "rate", workers, count, *words)
            samples[name].append((round(count / seconds / cpus, 2), round(cpu / count * 1000, 3)))
    made = [results.row("create and destroy", name, "per second and core",
                        [rate for rate, _ in samples[name]]) for name, _, _ in rows]
    return made + [results.row("processor time of a VMM's life", name, "ms",
                               [cpu for _, cpu in samples[name]]) for name, _, _ in rows]


def run(work, runs, rounds):
    build, programs = results.build("start")
    environment = results.environment(build)
    disk = work / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 30)
    cpus = int(environment["host"].split()[0])
    with network() as (name, net):
        made = first_instruction(programs, rows_of(build / "vmm", programs, disk, name, net), runs)
        made += create_and_destroy(programs, build / "vmm", disk, name, net, rounds, cpus)
    made.sort(key=lambda row: ORDER.index(row["group"]))
    return {"start": {"command": "tools/bench start", "environment": environment, "repeated": [],
                      "rows": made}}
