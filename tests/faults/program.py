#!/usr/bin/env python3
"""The whole program on a host that fails under a guest which writes and flushes (guest-tests/writer.c).

usage: program.py VMM VMM_FAULTY GUESTS CASE [--kills N] [--seed N]   GUESTS: where writer.guest is
       program.py --list                                              the cases

power is a power cut as far as a process can see one: SIGKILL at a random moment, N times (200), on a
new disk each; then all that a completed flush covers must be on it. order watches what the kernel is
asked: no flush ends before fdatasync() has, and without flushes each write is stable by itself; that
is what a real power cut needs beyond the other. Exit status: 0 it held; 1 not so; 77: cannot be tried
here, and a line says why.
"""

import argparse
import collections
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile

SECTOR, BLOCK, BATCH, FIRST = 512, 8, 8, 8  # as in writer.c
MAGIC = 0x7265746972772D76
MASK = (1 << 64) - 1
HANG = 120  # seconds; a guard, not a measurement
SIZE = 1 << 20
LINES = 40  # that a fault may be worth, however often it occurs: the log limits itself


class Skip(Exception):
    pass


class Bad(Exception):
    pass


def mix(a, b):
    x = ((a + 1) * 0x9E3779B97F4A7C15 ^ (b + 1) * 0xC2B2AE3D27D4EB4F) & MASK
    return x ^ x >> 29


def blocks_of_round(n, blocks):
    return [mix(n, i) % blocks for i in range(BATCH)]


class Setup:
    def __init__(self, args, work):
        self.vmm, self.faulty, self.args, self.work = args.vmm, args.faulty, args, work
        self.guest = f"{args.guests}/writer.guest"

    def disk(self, name="disk", size=SIZE):
        path = f"{self.work}/{name}"
        if os.path.exists(path):
            os.unlink(path)
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    def command(self, words, disk, *more, vmm=None):
        return [vmm or self.vmm, "--kernel", self.guest, "--mem", "64M", "--cmdline", words,
                "--discovery", "cmdline", "--transport", "mmio", "--disk", disk, *more]

    def run(self, command, **how):
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "timeout": HANG, "check": False} | how
        return subprocess.run(command, **how)


def must_pass(done, failed_writes):
    """The guest went through all its rounds; more than none of its writes failed, or none."""
    text = done.stdout.decode()
    found = re.search(r"writer: (\d+) writes failed\n.*PASS", text)
    if done.returncode != 0 or not found:
        raise Bad(f"status {done.returncode}: {text[-300:]} {done.stderr.decode()[-300:]}")
    if (int(found.group(1)) > 0) != failed_writes:
        raise Bad(f"{found.group(1)} writes failed")
    lines = (done.stderr or b"").decode().splitlines()
    if len(lines) > LINES or not all(line.startswith("vmm: ") for line in lines):
        raise Bad(f"{len(lines)} messages: {lines[:3]}")
    return lines


# --- power ---


def check_disk(path, last):
    """What rounds up to `last` wrote is there, unless the one after it has begun on that block."""
    blocks = (SIZE // SECTOR - FIRST) // BLOCK
    newest = {}
    for n in range(1, last + 1):
        for b in blocks_of_round(n, blocks):
            newest[b] = n
    under_way = set(blocks_of_round(last + 1, blocks))
    with open(path, "rb") as f:
        image = f.read()
    for b, n in newest.items():
        for sector in range(FIRST + b * BLOCK, FIRST + (b + 1) * BLOCK):
            words = struct.unpack_from("<64Q", image, sector * SECTOR)
            good = [n, last + 1] if b in under_way else [n]
            if (words[:2] != (MAGIC, sector) or words[2] not in good or any(words[3:-1]) or
                    words[-1] != mix(sector, words[2])):
                raise Bad(f"sector {sector}: round {n} is lost: {words[:4]}, {last} were flushed")


def kill_once(setup, rng, variant):
    words, keys, more, plan = variant
    disk = setup.disk()
    command = setup.command(words, disk + keys, *more, vmm=setup.faulty if plan else None)
    env = dict(os.environ, VMM_FAULT=plan)
    until = rng.randrange(1, 12)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env,
                          stderr=subprocess.DEVNULL) as vmm:
        said = b""
        # So many bytes are somewhere in a line, and so the guest is somewhere in a round.
        while said.count(b"\n") <= until or rng.randrange(16):
            more_said = os.read(vmm.stdout.fileno(), 1)
            if not more_said:
                raise Bad(f"it ended by itself, status {vmm.wait()}: {said[-200:]}")
            said += more_said
        vmm.send_signal(signal.SIGKILL)
        said += vmm.stdout.read()
        vmm.wait()
    flushed = re.findall(rb"^flushed (\d+)\n", said, re.MULTILINE)
    last = int(flushed[-1]) if flushed else 0
    check_disk(disk, last)
    return last


def power(setup):
    refused = f"uring:0:{0xFFFFFFFF}:1"
    variants = [("how=forever", "", [], ""), ("how=through", "", [], ""),
                ("how=forever", ",queues=2", ["--io-threads", "2"], ""),
                ("how=forever", "", [], refused), ("how=through", "", [], refused)]
    rng = random.Random(setup.args.seed)
    rounds = 0
    for i in range(setup.args.kills):
        rounds += kill_once(setup, rng, variants[i % len(variants)])
    return f"{setup.args.kills} kills, {rounds} flushes before them, seed {setup.args.seed}"


# --- order ---


def trace(setup, words):
    """What became of the calls, in order: ("pwritev2", text), ("fdatasync", text), ("line", n)."""
    log = f"{setup.work}/trace"
    env = dict(os.environ, VMM_FAULT=f"uring:0:{0xFFFFFFFF}:1", ASAN_OPTIONS="detect_leaks=0")
    command = ["strace", "-f", "-qq", "-o", log, "-e", "trace=pwritev2,fdatasync,write"]
    try:
        done = setup.run(command + setup.command(words, setup.disk(), vmm=setup.faulty), env=env)
    except FileNotFoundError as e:
        raise Skip("there is no strace") from e
    must_pass(done, False)
    begun, events, said = {}, [], ""
    with open(log) as f:
        for line in f:
            pid, call = line.split(None, 1)
            if "<unfinished ...>" in call:
                begun[pid] = call.split("<unfinished")[0]
                continue
            if call.startswith("<... "):
                call = begun.pop(pid) + call.split("resumed>", 1)[1]
            if call.startswith(("pwritev2", "fdatasync")):
                if re.search(r" = \d+$", call.rstrip()):
                    events.append((call.split("(")[0], call))
            elif char := re.match(r'write\(\d+, "([^"]|\\n)", 1\)', call):
                said += char.group(1).replace("\\n", "\n")
                while "\n" in said:
                    text, said = said.split("\n", 1)
                    if text.startswith("flushed "):
                        events.append(("line", text))
    return events


def order(setup):
    counts = collections.Counter()
    for what, text in trace(setup, "rounds=5"):
        if what == "fdatasync" and counts["pwritev2"] < BATCH * (counts["fdatasync"] + 1):
            raise Bad(f"fdatasync before the writes that it is to cover: {dict(counts)}")
        counts[what] += 1
        if what == "line" and counts["fdatasync"] < counts["line"]:
            raise Bad(f'"{text}", and fdatasync has ended {counts["fdatasync"]} times')
    if counts["line"] != 5:
        raise Bad(f"seen: {dict(counts)}")
    through = trace(setup, "rounds=5 how=through")
    writes = [text for what, text in through if what == "pwritev2"]
    if len(writes) < 5 * BATCH or not all("RWF_DSYNC" in text for text in writes):
        raise Bad(f"without flushes, {len(writes)} writes: {writes[:2]}")
    return f"{counts['fdatasync']} flushes, {len(writes)} stable writes"


# --- other faults ---


def disk_full(setup):
    """On a file system with room for half of the disk."""
    mount = f"{setup.work}/full"
    os.mkdir(mount)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE // 2}", "none", mount],
                      stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise Skip("this user may not mount a tmpfs")
    try:
        done = setup.run(setup.command("rounds=40 how=full", setup.disk("full/disk")))
    finally:
        subprocess.run(["umount", mount], check=True)
    lines = must_pass(done, True)
    return f"{len(lines)} messages: {lines[0]}"


def log_full(setup):
    """The same messages, and nowhere to put them."""
    limit = ["prlimit", f"--fsize={SIZE // 2}"]
    with open("/dev/full", "wb") as full:
        done = setup.run(limit + setup.command("rounds=40 how=full", setup.disk()), stderr=full)
    must_pass(done, True)
    read, write = os.pipe() # nobody reads, and then nobody can
    os.close(read)
    done = setup.run(limit + setup.command("rounds=40 how=full", setup.disk()), stderr=write)
    os.close(write)
    must_pass(done, True)
    return "a full device and a closed pipe"


def console_full(setup):
    """What the guest says is lost, from the first word on or from where a pipe is full or closed; its
    disk has all of it."""
    blocks = (SIZE // SECTOR - FIRST) // BLOCK
    last = 20
    read, write = os.pipe()
    os.close(read)
    full_read, full_write = os.pipe()
    os.set_blocking(full_write, False)
    while True:
        try:
            os.write(full_write, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(full_write, True)
    with open("/dev/full", "wb") as full:
        for out in (full, write, full_write):
            disk = setup.disk()
            done = setup.run(setup.command(f"rounds={last}", disk), stdout=out)
            lines = done.stderr.decode().splitlines()
            if done.returncode != 0 or len(lines) > 1:
                raise Bad(f"status {done.returncode}: {lines}")
            check_disk(disk, last)
    for fd in (write, full_read, full_write):
        os.close(fd)
    return f"{blocks} blocks, all there"


CASES = {"power": power, "order": order, "disk-full": disk_full, "log-full": log_full,
         "console-full": console_full}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(CASES))
        return 0
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("vmm")
    parser.add_argument("faulty")
    parser.add_argument("guests")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    try:
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise Skip("there is no /dev/kvm that may be used")
        # Where a flush costs nothing: what the kernel has, it has, however the process ends.
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="vmm-faults.", dir=shm) as work:
            print(f"PASS {args.case}: {CASES[args.case](Setup(args, work))}")
    except Skip as e:
        print(f"SKIP {args.case}: {e}")
        return 77
    except (Bad, subprocess.TimeoutExpired) as e:
        print(f"FAIL {args.case}, seed {args.seed}: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
