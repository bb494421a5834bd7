"""tools/bench profile: where the time of a row of the rig goes, by samples of perf's software clock.

Each sample's stack is one share of one place: of the first one below that has a function in it. So a
copy is a copy in whichever system call, and what is left of a call is the call's. What is around the
measured part of a row (its setting up, a socket's other end, the counting) is left out.
"""

import re
import subprocess

from benchlib import results

# Of the rig, one or two for each aim that was missed, and what they are beside.
ROWS = (
    "block: device, page cache, depth 1",
    "block: plain ring, page cache, depth 1",
    "block: device, direct, depth 32",
    "block: plain ring, direct, depth 32",
    "vsock: plain socket, send, 64 KiB",
    "vsock: guest to host, 64 KiB",
    "vsock: guest to host, 16 of 4 KiB",
    "vsock: plain socket, receive, 64 KiB",
    "vsock: host to guest, 64 KiB",
    "fs: pread, 128 KiB",
    "fs: READ, 128 KiB",
    "fs: DAX, mapped",
    "fs: DAX, mapped anew, 2 MiB",
)
# Around what is measured: not all that is in it can be named, for libc has no frame pointers.
AROUND = {"bench_count", "bench_file", "up", "device_up", "before", "after", "exact", "down"}
PLACES = [(name, re.compile(rf"^(?:{functions})$")) for name, functions in (
    ("copying", r"_copy_(?:to|from)_iter|__memmove_\w+|__memcpy_\w+|copy_user_\w+|rep_movs_\w+"),
    ("page faults", r"asm_exc_page_fault|exc_page_fault"),
    ("memory for what a socket holds", r"sock_alloc_send_pskb|consume_skb|skb_release_data"),
    ("reading the file", r"io_read|vfs_read\w*|ext4_file_read_iter|filemap_read|do_preadv"),
    ("submitting to the disk", r"__blk_flush_plug|blk_mq_\w+"),
    ("io_uring_enter", r"__do_sys_io_uring_enter"),
    ("sending", r"__sys_sendmsg|__x64_sys_sendmsg|__sys_sendto"),
    ("receiving", r"__sys_recvmsg|__x64_sys_recvmsg|__sys_recvfrom"),
    ("epoll_wait", r"do_epoll_wait|__x64_sys_epoll_wait"),
    ("mmap and mremap", r"__do_sys_mremap|ksys_mmap_pgoff|__x64_sys_mmap|do_mremap"),
    ("futex", r"do_futex"),
    ("write", r"ksys_write"),  # notifications and interrupts: eventfds
    ("other system calls", r"do_syscall_64|entry_SYSCALL_64_after_hwframe"),
    ("interrupts of the host", r"asm_sysvec_\w+|asm_common_interrupt"),
)]
USER = "code in user space"


def place_of(stack):
    for name, pattern in PLACES:
        if any(pattern.match(function) for function in stack):
            return name
    return USER


def stacks_of(script):
    """Lists of functions, the innermost first, of what perf script says: a line for the thread, one
    for each function, and an empty one."""
    for sample in script.split("\n\n"):
        lines = sample.strip("\n").splitlines()
        if len(lines) > 1:
            yield [line.split()[1] for line in lines[1:] if len(line.split()) > 1]


def shares(script):
    """{place: share of the samples}, the greatest first."""
    counts = {}
    for stack in stacks_of(script):
        if not AROUND.intersection(stack):
            place = place_of(stack)
            counts[place] = counts.get(place, 0) + 1
    total = sum(counts.values())
    return {place: count / total
            for place, count in sorted(counts.items(), key=lambda item: -item[1])}


def profile(program, row, data):
    subprocess.run(["perf", "record", "-q", "-o", data, "-F", "5000", "-e", "cpu-clock", "-g",
                    program, "--samples", "20", row], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym"], check=True, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def run(work):
    build = results.build("rig")[0]
    environment = results.environment(build)
    rows = []
    for row in ROWS:
        script = profile(build / "tests/bench_rig", row, work / "perf.data")
        rows += [results.row(row, place, "% of the time", exact=round(share * 100, 1))
                 for place, share in shares(script).items()
                 if share >= 0.01]
    return {"profile": {"command": "tools/bench profile", "environment": environment, "repeated": 0,
                        "rows": rows}}
