#!/usr/bin/env python3
"""Starts the program with a host that runs out of something: at each allocation, descriptor, mapping
and thread of a start in turn, once or from then on; and with no io_uring.

usage: starts.py VMM_FAULTY GUEST [--every N]   GUEST: reboot.guest; N: only each Nth allocation

Each start either goes on, or ends with one sentence and status 1, or 2 where a size that the user gave
is too much for the host; warnings may come before it. No sanitizer says anything, and nothing hangs.
Exit status: 0 so it was; 1 not so; 77: no /dev/kvm here.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

HANG = 60  # seconds; a guard, not a measurement
ENDS = b"guest-test reboot ENDS by syscon-off"


def devices(work):
    return [
        "--disk", f"{work}/disk", "--disk", f"{work}/disk2,direct,queues=2,bps=1M",
        "--device", "rng", "--device", f"console,channel=a.0:{work}/channel",
        "--device", "balloon,size=1M", "--device", f"net,backend=user,pcap={work}/pcap",
        "--device", f"vsock,cid=3,uds={work}/vsock", "--device", f"fs,{work},tag=t,ro",
        "--device", "mem,128M", "--device", f"pmem,{work}/pmem", "--device", "rtc",
        "--device", f"scsi,{work}/unit",
    ]


def command_lines(work, guest):
    say = ["--kernel", guest, "--mem", "64M", "--cmdline", "how=syscon-off"]
    yield "pci", say + ["--io-threads", "2", "--cpus", "2", "--watchdog", "reset"] + devices(work)
    yield "mmio", say + ["--transport", "mmio", "--discovery", "fdt"] + devices(work)
    with open(f"{work}/config", "w") as f:
        f.write('{"boot-source": {"kernel_image_path": "%s", "boot_args": "how=syscon-off"},'
                ' "machine-config": {"vcpu_count": 1, "mem_size_mib": 64},'
                ' "drives": [{"drive_id": "a", "path_on_host": "%s/disk", "is_root_device": false,'
                ' "is_read_only": false}]}' % (guest, work))
    yield "api", ["--config-file", f"{work}/config", "--api-sock", f"{work}/api"]


class Start:
    """What became of one."""

    def __init__(self, vmm, args, plan, count=None):
        env = dict(os.environ, VMM_FAULT=plan)
        if count:
            env["VMM_FAULT_COUNT"] = count
        self.why = None
        try:
            done = subprocess.run([vmm] + args, env=env, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=HANG, check=False)
        except subprocess.TimeoutExpired:
            self.why, self.went_on, self.lines = "hangs", False, []
            return
        self.lines = done.stderr.decode(errors="replace").splitlines()
        self.went_on = done.returncode == 0 and ENDS in done.stdout
        said = [line for line in self.lines if not line.startswith("vmm: warn: ")]
        size = said and re.match("vmm: (--mem|mem|pmem)[ :]", said[0])
        if not all(s.startswith("vmm: ") for s in said):
            self.why = f"status {done.returncode}, and who says that?"
        elif not self.went_on and len(said) != 1:
            self.why = f"status {done.returncode}, {len(said)} sentences"
        elif not self.went_on and done.returncode != 1 and not (size and done.returncode == 2):
            self.why = f"exit status {done.returncode}"


def clean(work):
    for name in ("channel", "vsock", "api"):
        if os.path.exists(f"{work}/{name}"):
            os.unlink(f"{work}/{name}")


def prepare(work):
    for name, size in (("disk", 1 << 20), ("disk2", 1 << 20), ("unit", 1 << 20), ("pmem", 4 << 20)):
        with open(f"{work}/{name}", "wb") as f:
            f.truncate(size)


def try_all(vmm, guest, work, which, every, first):
    """The plans of one command line that are this worker's; (tried, went on, complaints)."""
    prepare(work)
    args = dict(command_lines(work, guest))[which]
    none = Start(vmm, args, "resource:0:0:0", f"{work}/count")
    if not none.went_on or none.lines:
        return 0, 0, [f"{which}: does not start: {none.lines}"]
    with open(f"{work}/count") as f:
        calls = int(f.read())
    tried = went_on = 0
    bad = []
    plans = [f"resource:{k}:{times}:0" for k in range(0, calls, every)
             for times in (1, 0xffffffff)]
    for plan in plans[first::WORKERS]:
        clean(work)
        s = Start(vmm, args, plan)
        tried += 1
        went_on += s.went_on
        if s.why:
            bad.append(f"{which} {plan}: {s.why}: {' | '.join(s.lines[:8])}")
    return tried, went_on, bad


WORKERS = max(2, os.cpu_count() or 1)


def refused(vmm, guest, work):
    """No ring is to be had: the loops are on epoll instead, and nobody needs to know."""
    prepare(work)
    bad = []
    for error in (1, 12, 38):  # EPERM, ENOMEM, ENOSYS
        for which, args in command_lines(work, guest):
            clean(work)
            s = Start(vmm, args, f"uring:0:{0xffffffff}:{error}")
            if not s.went_on or s.lines:
                bad.append(f"{which} without io_uring: {s.why} {s.lines}")
    return bad


def main():
    vmm, guest = sys.argv[1:3]
    every = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP: there is no /dev/kvm that may be used")
        return 77
    bad = []
    with tempfile.TemporaryDirectory(prefix="vmm-starts.") as top:
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for which in ("pci", "mmio", "api"):
                jobs = []
                for i in range(WORKERS):
                    work = f"{top}/{which}{i}"
                    os.mkdir(work)
                    jobs.append(pool.submit(try_all, vmm, guest, work, which, every, i))
                done = [j.result() for j in jobs]
                tried, went_on = sum(d[0] for d in done), sum(d[1] for d in done)
                for d in done:
                    bad += d[2]
                print(f"{which}: {tried} starts with a fault, {went_on} went on")
        work = f"{top}/refused"
        os.mkdir(work)
        bad += refused(vmm, guest, work)
    for line in bad:
        print(f"FAIL: {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
