#!/usr/bin/env python3
"""Runs a command on a terminal of its own and writes down how that went.

usage: tty.py [--closed-stdout | --full-stdout] [--type TEXT | --kill SIGNAL] OUT COMMAND...

The terminal is standard input and, unless told otherwise, standard output. --type and --kill wait
until the command has put the terminal into raw mode. Files in the directory OUT: stdout, stderr,
status (a number, "signal N" or "hang"), ms, terminal ("intact" or what differs), and acted ("no" if
there was something to do and no raw mode to do it in).
"""
import argparse
import fcntl
import os
import select
import signal
import sys
import termios
import time

LIMIT = 5  # seconds: a guard against hangs, not a measurement
NAMES = ["iflag", "oflag", "cflag", "lflag", "ispeed", "ospeed", "cc"]


def child(args, master, slave, err):
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    out = slave
    if args.closed_stdout:
        reader, out = os.pipe()
        os.close(reader)
    if args.full_stdout:
        out = os.open("/dev/full", os.O_WRONLY)
    for fd, at in ((slave, 0), (out, 1), (err, 2)):
        os.dup2(fd, at)
    os.closerange(3, 256)
    for sig in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(sig, signal.SIG_DFL)
    try:
        os.execvp(args.command[0], args.command)
    except OSError as e:
        os.write(2, f"{args.command[0]}: {e.strerror}\n".encode())
    os._exit(127)


def act(args, pid, master):
    if args.type:
        os.write(master, args.type.encode().decode("unicode_escape").encode())
    if args.kill:
        os.kill(pid, getattr(signal, "SIG" + args.kill))


def attend(args, pid, master, slave, before, out):
    """Until the command ends: takes its output, and acts once."""
    start = time.monotonic()
    waiting = bool(args.type or args.kill)
    ended = how = 0
    while True:
        if not ended:  # and what it left in the terminal may take several reads
            ended, how = os.waitpid(pid, os.WNOHANG)
        if select.select([master], [], [], 0 if ended else 0.002)[0]:
            out.write(os.read(master, 65536))
            continue
        if ended:
            code = os.waitstatus_to_exitcode(how)
            how = f"signal {-code}" if code < 0 else str(code)
            return how, time.monotonic() - start, not waiting
        if waiting and termios.tcgetattr(slave) != before:
            time.sleep(0.1)  # raw mode comes before the guest runs
            act(args, pid, master)
            waiting = False
        if time.monotonic() - start > LIMIT:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hang", LIMIT, not waiting


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--closed-stdout", action="store_true")
    p.add_argument("--full-stdout", action="store_true")
    p.add_argument("--type")
    p.add_argument("--kill")
    p.add_argument("out")
    p.add_argument("command", nargs=argparse.REMAINDER)
    args = p.parse_args()

    master, slave = os.openpty()
    # Not what a terminal usually is: "given back as it was" is not "made sane".
    attrs = termios.tcgetattr(slave)
    attrs[3] &= ~termios.ECHOE
    attrs[6][termios.VKILL] = b"\x0b"
    termios.tcsetattr(slave, termios.TCSANOW, attrs)
    before = termios.tcgetattr(slave)

    err = os.open(args.out + "/stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    pid = os.fork()
    if pid == 0:
        child(args, master, slave, err)
    with open(args.out + "/stdout", "wb") as out:
        status, seconds, acted = attend(args, pid, master, slave, before, out)
    after = termios.tcgetattr(slave)
    changed = [n for n, a, b in zip(NAMES, before, after) if a != b]
    for name, text in (("status", status), ("ms", str(round(seconds * 1000))),
                       ("acted", "yes" if acted else "no"),
                       ("terminal", ",".join(changed) or "intact")):
        with open(f"{args.out}/{name}", "w", encoding="ascii") as f:
            f.write(text + "\n")
    return 0


sys.exit(main())
