#!/usr/bin/env python3
"""Sends requests to a control socket that no decent client sends, from a seed, and looks whether
the process still answers and has not grown.

usage: hostile.py SOCKET PID [REQUESTS [SEED]]

Whether the guest behind it runs is the caller's to see. Exit status: 0 all is well; 1 it is not, and why is printed, with what
repeats it.
"""
import json
import random
import socket
import sys

PATHS = ["/", "/version", "/vm", "/vm/config", "/actions", "/boot-source", "/machine-config",
         "/drives/a", "/drives/rootfs", "/network-interfaces/e", "/vsock", "/entropy", "/balloon",
         "/balloon/statistics", "/balloon/hinting/start", "/balloon/hinting/status",
         "/balloon/hinting/stop", "/hotplug/memory", "/pmem/p", "/serial", "/logger", "/mmds",
         "/mmds/config", "/cpu-config", "/snapshot/create", "/snapshot/load", "/nothing", "//", "*",
         "/drives/%00", "/drives/../vm", "/drives/" + "x" * 5000, "/%2e%2e", "/vm?a=b", "/vm#c"]
VERBS = ["GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "",
         "get", "G\0T", "P" * 3000]
FIELDS = ["vcpu_count", "mem_size_mib", "huge_pages", "smt", "kernel_image_path", "boot_args",
          "drive_id", "path_on_host", "is_root_device", "rate_limiter", "amount_mib", "level",
          "deflate_on_oom", "stats_polling_interval_s", "requested_size_mib", "acknowledge_on_stop",
          "guest_cid", "uds_path", "id", "iface_id", "action_type", "properties", "", "\x7f"]
WORDS = ["", "a", "rootfs", "None", "2M", "Debug", "x" * 3000, "\u0000", "\ud800", "\U0001f600", "%s%n",
         "../../etc/passwd", "a\nb", "\x1b[2J"]
GROWTH_KIB = 16 << 10  # what 16 connections, their bodies and the allocator's slack may come to
CONNECTIONS = 16       # of the server


def value(r, depth=0):
    kind = r.randrange(9 if depth < 4 else 7)
    if kind == 0:
        return r.choice([0, 1, -1, 2**31, 2**32, 2**63 - 1, -2**63, r.getrandbits(40)])
    if kind == 1:
        return r.choice([0.5, 1e308, -0.0])
    if kind <= 4:
        return r.choice(WORDS)
    if kind == 5:
        return r.random() < 0.5
    if kind == 6:
        return None
    if kind == 7:
        return [value(r, depth + 1) for _ in range(r.randrange(5))]
    return {r.choice(FIELDS): value(r, depth + 1) for _ in range(r.randrange(5))}


def body(r):
    kind = r.randrange(8)
    if kind == 0:
        return b"[" * r.choice([10, 2000, 5000, 50000])
    if kind == 1:
        return b'{"a":' * r.choice([10, 2047, 2049, 10000])
    if kind == 2:
        return r.randbytes(r.randrange(300))
    text = json.dumps({r.choice(FIELDS): value(r) for _ in range(r.randrange(6))}).encode()
    if kind == 3:  # cut, or a byte changed
        return text[:r.randrange(len(text))]
    if kind == 4:
        at = r.randrange(len(text))
        return text[:at] + r.randbytes(1) + text[at + 1:]
    if kind == 5:
        return text + b" " * r.choice([0, 51200, 52000, 100000])
    return text


def head(r, length):
    verb = r.choice(VERBS[:3]) if r.random() < 0.7 else r.choice(VERBS)
    line = f"{verb} {r.choice(PATHS)} " + r.choice(["HTTP/1.1"] * 8 + ["HTTP/9.9", "HTTP/1.0", "", "\0"])
    lines = [line, "Host: x"]
    kind = r.randrange(10)
    if kind == 0:
        lines.append("X: " + "y" * r.choice([100, 20000, 200000]))
    elif kind == 1:
        lines += [f"X{i}: y" for i in range(r.choice([10, 3000]))]
    elif kind == 2:
        lines.append(r.choice(["Expect: 100-continue", "Connection: close", "Upgrade: h2c", ": no name",
                               "no colon", "Content-Length: 5", "Transfer-Encoding: gzip", "\0: \0"]))
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunked(r, content):
    out = head(r, None)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    while content:
        n = r.randrange(1, len(content) + 1)
        size = f"{n:x}" if r.random() < 0.9 else r.choice(["-1", "zz", "ffffffffffffffff", "0" * 5000])
        out += size.encode() + b"\r\n" + content[:n] + b"\r\n"
        content = content[n:]
    return out + (b"0\r\n\r\n" if r.random() < 0.5 else b"")


def request(r):
    content = body(r)
    kind = r.randrange(10)
    if kind == 0:
        return chunked(r, content)
    if kind == 1:
        return head(r, r.choice([-1, 10**9, 2**63, 2**64, "1e3", "", "0x10", len(content) + 1])) + content
    if kind == 2:
        return r.randbytes(r.randrange(400))
    whole = head(r, len(content)) + content
    if kind == 3:
        return whole[:r.randrange(len(whole))]
    if kind == 4:
        return whole * r.randrange(2, 5)  # one behind the other
    return whole


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)  # waits while the queue is full
    s.settimeout(20)
    return s


def answers(path):
    for _ in range(100):  # those that went may not have been let go yet, and it is full
        try:
            with connect(path) as s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                got = b""
                while part := s.recv(4096):
                    got += part
        except (BrokenPipeError, ConnectionResetError):
            continue
        if got:
            return b'"state": "' in got
    return False


def send(path, data, r):
    """One that reads its answer, or does not; and closes, or is closed."""
    with connect(path) as s:
        try:
            s.sendall(data)
            if r.random() < 0.5:
                s.shutdown(socket.SHUT_WR)
                s.settimeout(0.1)  # half a request has no answer
                while s.recv(65536):
                    pass
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass


def crowd(path):
    """More than are let in, who say nothing, and go."""
    many = []
    try:
        for _ in range(CONNECTIONS + 40):
            many.append(socket.socket(socket.AF_UNIX))
            many[-1].setblocking(False)
            many[-1].connect(path)
    except BlockingIOError:
        pass  # nor do more fit into the queue
    for s in many:
        s.close()


def main():
    path, pid = sys.argv[1], int(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10000
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.SystemRandom().getrandbits(32)
    r = random.Random(seed)
    held, before, at = [], None, 0
    look = max(1, min(500, count // 10))

    def wrong(why):
        sys.exit(f"{why} after request {at}; again: hostile.py SOCKET PID {count} {seed}")

    try:
        for at in range(count):
            data = request(r)
            if r.random() < 0.02:  # stays, half said, beside the others
                s = connect(path)
                s.sendall(data[:r.randrange(min(len(data), 2000) + 1)])
                held.append(s)
                if len(held) >= CONNECTIONS - 4:
                    for old in held:
                        old.close()
                    held.clear()
            else:
                send(path, data, r)
            if at % look == look - 1:
                crowd(path)
                if not answers(path):
                    wrong("no answer")
                before = before or rss_kib(pid)
    except (TimeoutError, ConnectionRefusedError, FileNotFoundError, ConnectionResetError) as e:
        wrong(f"{type(e).__name__}: {e}")
    for s in held:
        s.close()
    if not answers(path):
        wrong("no answer")
    grown = rss_kib(pid) - before
    if grown > GROWTH_KIB:
        wrong(f"grown by {grown} KiB")
    print(f"{count} requests, seed {seed}: grown by {grown} KiB")


main()
