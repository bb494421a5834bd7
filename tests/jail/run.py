#!/usr/bin/env python3
"""Looks at the program in its jail from outside, by what /proc says of it, and at how it ends.

usage: run.py VMM GUESTS [CASE...]   GUESTS: where the NAME.guest files are

Needs root. Prints PASS, FAIL or SKIP for each case. Exit status: 0 all is well; 1 it is not; 77
nothing can be tried here."""

import ctypes
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time

LIMIT = 20  # seconds: a guard against hangs, not a measurement
UID, GID = 64242, 64243
NAMESPACES = ["ipc", "mnt", "net", "pid", "uts"]
HERE = pathlib.Path(__file__).resolve().parent
VMM, GUESTS = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
SANITIZED = b"__asan_init" in VMM.read_bytes()
os.environ["ASAN_OPTIONS"] = "detect_leaks=0"  # it needs /proc
JAIL = f"root,uid={UID},gid={GID}"


class Wrong(Exception):
    """What a case has found."""


class Skip(Exception):
    """Why there is no such case here."""


def must(so, what):
    if not so:
        raise Wrong(what)


def wait_until(so, what):
    end = time.monotonic() + LIMIT
    while not so():
        must(time.monotonic() < end, f"still not so after {LIMIT} s: {what}")
        time.sleep(0.005)


def line(*args, jail=JAIL, kernel="spin"):
    return [VMM, "--jail", jail, "--kernel", kernel, "--mem", "64M", "--console", "none",
            "--on-reboot", "exit", *args]


def ends(expected, *args, command=None, **kwargs):
    """To its end: what it said."""
    p = subprocess.run(command or line(*args, **kwargs), stderr=subprocess.PIPE, timeout=LIMIT,
                       check=False)
    said = p.stderr.decode()
    must(p.returncode == expected, f"status {p.returncode}, not {expected}: {said}")
    return said


def refused(expected, noun, *args, **kwargs):
    said = ends(expected, *args, **kwargs)
    must(said.count("\n") == 1 and noun in said, f"not one line with \"{noun}\": {said}")


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def status_of(task):
    """/proc/PID/status as a dictionary of lists of words."""
    text = pathlib.Path(task, "status").read_text()
    return {key: value.split() for key, value in (l.split(":", 1) for l in text.splitlines())}


class Jailed:
    """The program with a guest that stays, from when it is in its jail; `pid` is the inside's."""

    def __init__(self, *args, prefix=(), enters=True, **kwargs):
        self.outside = subprocess.Popen([*prefix, *line(*args, **kwargs)], stderr=subprocess.PIPE)
        self.pid = None
        wait_until(lambda: self.outside.poll() is not None or children(self.outside.pid), "a child")
        if self.outside.poll() is None:
            self.pid = children(self.outside.pid)[0]
            self.proc = pathlib.Path(f"/proc/{self.pid}")
            if enters:
                self.await_entry()
        if self.outside.poll() is not None:
            raise Wrong(f"has ended: {self.outside.stderr.read().decode()}")

    def await_entry(self):
        """Its threads run when a vCPU does: that is the last of all."""
        wait_until(lambda: self.outside.poll() is not None or self.is_in(), "in the jail")

    def is_in(self):
        try:
            names = [t.joinpath("comm").read_text().strip() for t in self.tasks()]
        except OSError:  # it has ended meanwhile
            return False
        return "io0" in names and "vcpu0" in names

    def tasks(self):
        return list(self.proc.joinpath("task").iterdir())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid and self.proc.exists():  # it may have outlived the outside
            os.kill(self.pid, signal.SIGKILL)
        if self.outside.poll() is None:
            self.outside.kill()
            self.outside.wait(LIMIT)
        self.outside.stderr.close()

    def end(self, by, of=None):
        """Sends a signal, to the outside if nobody else is named; how that ends it."""
        os.kill(of or self.outside.pid, by)
        status = self.outside.wait(LIMIT)
        wait_until(lambda: not self.proc.exists(), "the inside is gone, too")
        return status


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


# --- the cases ---


def a_guest_runs():
    ends(0, kernel=GUESTS / "ports.guest")


def a_reset_in_place():
    """The kernel is loaded again, from what was opened."""
    pathlib.Path("lives").write_bytes(bytes(1 << 20))
    ends(0, command=[VMM, "--jail", JAIL, "--kernel", GUESTS / "reboot.guest", "--disk", "lives",
                     "--console", "file=console", "--cmdline", "console=ttyS0 how=restart"])
    said = pathlib.Path("console").read_text(errors="replace")
    must("guest-test reboot PASS" in said, said)


def namespaces_of_its_own():
    with Jailed() as j:
        for task in j.tasks():
            for kind in NAMESPACES:
                must(os.readlink(task / "ns" / kind) != namespace("self", kind),
                     f"{task.name} is in our {kind} namespace")
        must(status_of(j.proc)["NSpid"][-1] == "1", "not the first process of its namespace")
        must(os.getsid(j.pid) != os.getsid(0), "in our session")


def an_empty_root():
    pathlib.Path("root/file").touch()
    with Jailed("--disk", "disk") as j:
        for pid in j.pid, j.outside.pid:
            mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            must(len(mounts) == 1, f"{pid} sees {mounts}")
            _, _, _, _, at, options = mounts[0].split()[:6]
            must(at == "/" and {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(",")),
                 mounts[0])
            must(os.listdir(f"/proc/{pid}/root") == ["file"], "the root is another one")
            must(os.readlink(f"/proc/{pid}/cwd") == "/", "the working directory is outside")
        for task in j.tasks():
            must(os.path.samefile(task / "root", "root"), f"{task.name} has another root")
        for fd in j.proc.joinpath("fd").iterdir():
            must(not fd.is_dir(), f"{os.readlink(fd)} is open")
    os.unlink("root/file")


def no_rights():
    with Jailed(prefix=["setpriv", "--inh-caps=+chown,+net_admin", "--groups=1,2"]) as j:
        for task in j.tasks():
            s = status_of(task)
            must(s["Uid"] == [str(UID)] * 4 and s["Gid"] == [str(GID)] * 4, f"ids {s['Uid']}")
            must(s["Groups"] == [], f"groups {s['Groups']}")
            for kind in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
                must(int(s[kind][0], 16) == 0, f"{task.name} has {kind} {s[kind]}")
            must(s["NoNewPrivs"] == ["1"], "may get new privileges")
        limits = j.proc.joinpath("limits").read_text()
        must("Max core file size        0                    0 " in limits, limits)


def files_of_roots():
    os.chmod("disk", 0o600)
    ends(0, "--disk", "disk", "--disk", "root/../disk2,ro", kernel="good")
    # Also one that is in what becomes a read-only root.
    shutil.copy("disk", "root/disk")
    ends(0, "--disk", "root/disk", kernel="good")
    os.unlink("root/disk")


def exit_statuses():
    ends(0, kernel="good")
    ends(3, kernel="triple")
    ends(2, kernel="nowhere")


def signals():
    for by in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT:
        with Jailed() as j:
            status = j.end(by)
            must(status == -by, f"{by}: status {status}")


def killed():
    with Jailed() as j:
        must(j.end(signal.SIGKILL) == -signal.SIGKILL, "outlives its end")
    with Jailed() as j:
        must(j.end(signal.SIGKILL, j.pid) == -signal.SIGKILL, "is not told by its status")


def a_bug_of_ours():
    """The first process of a namespace is not ended by a signal of its own."""
    if SANITIZED:
        raise Skip("the sanitizer has handlers of its own")
    with Jailed() as j:
        status = j.end(signal.SIGSEGV, j.pid)
        must(status == -signal.SIGSEGV, f"status {status}")


def stops_do_not_part_them():
    with Jailed() as j:
        os.kill(j.outside.pid, signal.SIGTSTP)
        must(j.end(signal.SIGTERM) == -signal.SIGTERM, "stopped")


def a_terminal():
    os.mkdir("tty")
    subprocess.run([HERE.parent / "cli/tty.py", "--type", "\\x01x", "tty", VMM, "--jail", JAIL,
                    "--kernel", "spin"], check=True, timeout=LIMIT)
    said = {f: pathlib.Path("tty", f).read_text().strip() for f in ("status", "terminal", "acted")}
    must(said["status"] == "0" and said["terminal"] == "intact", str(said))


def a_terminal_of_somebody_elses():
    master, slave = os.openpty()
    session = "import os,sys,fcntl,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); " \
              "pid = os.fork(); pid or (os.setpgid(0, 0), os.execv(sys.argv[1], sys.argv[1:])); " \
              "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    before = termios.tcgetattr(slave)
    p = subprocess.run([sys.executable, "-c", session, VMM, "--jail", JAIL, "--kernel", "spin"],
                       stdin=slave, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       start_new_session=True, timeout=LIMIT, check=False)
    must(p.returncode == 2 and b"in the background" in p.stderr, str(p))
    must(termios.tcgetattr(slave) == before, "the terminal has changed")
    os.close(master)
    os.close(slave)


def networks():
    with Jailed() as j:
        there = j.proc.joinpath("net/dev").read_text().splitlines()[2:]
        must(len(there) == 1 and there[0].split(":")[0].strip() == "lo", str(there))
    with Jailed("--net", "none") as j:
        must(namespace(j.pid, "net") == namespace("self", "net"), "not the host's")
    with Jailed("--net", "none", jail=f"{JAIL},netns=new") as j:
        must(namespace(j.pid, "net") != namespace("self", "net"), "the host's")
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c",
                               "ip tuntap add tap7 mode tap && echo there && exec sleep 100"],
                              stdout=subprocess.PIPE)
    try:
        at = f"/proc/{holder.pid}/ns/net"
        have_tap = holder.stdout.readline() == b"there\n"
        if have_tap:
            refused(2, "tap7", "--net", "tap,ifname=tap7")
            with Jailed("--net", "tap,ifname=tap7", jail=f"{JAIL},netns={at}") as j:
                for task in j.tasks():
                    must(os.readlink(task / "ns/net") == os.readlink(at), "in another network")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    if not have_tap:
        raise Skip("ip(8) makes no tap here")


def a_control_group():
    mounts = [l.split() for l in pathlib.Path("/proc/mounts").read_text().splitlines()]
    at = [m[1] for m in mounts if m[2] == "cgroup2"]
    group = pathlib.Path(at[0] if at else "/nowhere", f"vmm-jail-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as e:
        raise Skip(f"no group of cgroup2 can be made: {e.strerror}") from e
    try:
        with Jailed(jail=f"{JAIL},cgroup={group}") as j:
            must(f"0::/{group.name}\n" in j.proc.joinpath("cgroup").read_text(), "not in the group")
            must(group.name not in pathlib.Path(f"/proc/{j.outside.pid}/cgroup").read_text(),
                 "the outside is in it, too")
            must(j.end(signal.SIGTERM) == -signal.SIGTERM, "does not end")
    finally:
        wait_until(lambda: not group.joinpath("cgroup.procs").read_text(), "the group is empty")
        group.rmdir()


def sockets_that_go():
    args = ["--api-sock", "api", "--device", "vsock,uds=vsock,cid=3",
            "--device", "console,channel=c:channel"]
    for by, inside in (signal.SIGTERM, False), (signal.SIGKILL, True):
        with Jailed(*args) as j:
            for path in "api", "vsock", "channel":
                must(pathlib.Path(path).is_socket(), f"there is no {path}")
            must(j.end(by, j.pid if inside else None) == -by, "does not end")
        for path in "api", "vsock", "channel":
            must(not os.path.lexists(path), f"{path} is still there")
    # One that was there before is somebody else's.
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("api")
        refused(2, "api", "--api-sock", "api")
        must(os.path.lexists("api"), "another's socket is gone")
        os.unlink("api")


class Api(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("api")

    def ask(self, verb, path, body=None):
        self.request(verb, path, body)
        answer = self.getresponse()
        return answer.status, answer.read().decode()


def started_by_the_api():
    started = [VMM, "--jail", JAIL, "--api-sock", "api", "--console", "none", "--mem", "64M"]
    p = subprocess.Popen(started)
    try:
        wait_until(lambda: os.path.exists("api"), "a control socket")
        inside = pathlib.Path(f"/proc/{children(p.pid)[0]}")
        must(not os.path.samefile(inside / "root", "root"), "is in the jail before it has a guest")
        api = Api("vm")
        answer = api.ask("PUT", "/boot-source", '{"kernel_image_path": "spin"}')
        must(answer[0] == 204, str(answer))
        answer = api.ask("PUT", "/actions", '{"action_type": "InstanceStart"}')
        must(answer[0] == 204, str(answer))
        for task in inside.joinpath("task").iterdir():
            must(os.path.samefile(task / "root", "root"), "is not in the jail")
            must(status_of(task)["CapEff"] == ["0" * 16], "has capabilities")
        answer = api.ask("PUT", "/metrics", '{"metrics_path": "metrics"}')
        must(answer[0] == 400 and "Read-only file system" in answer[1], str(answer))
        api.close()
    finally:
        p.terminate()
        must(p.wait(LIMIT) == -signal.SIGTERM, "does not end")
    must(not os.path.lexists("api"), "its socket is still there")


def as_an_ordinary_user():
    """In a mount namespace where everybody may open /dev/kvm."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000) < 0:
        raise Skip("no mount namespace can be made")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    os.mknod("kvm", 0o20666, os.stat("/dev/kvm").st_rdev)
    os.chmod("kvm", 0o666)
    subprocess.run(["mount", "--bind", "kvm", "/dev/kvm"], check=True)
    user = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups"]
    if subprocess.run([*user, "unshare", "-U", "true"], stderr=subprocess.DEVNULL,
                      check=False).returncode:
        raise Skip("users may make no user namespaces")
    for p in (*VMM.parents, pathlib.Path.cwd()):
        if subprocess.run([*user, "test", "-x", p], check=False).returncode:
            raise Skip(f"users may not go through {p}")
    with Jailed(prefix=user, jail="root") as j:
        must(namespace(j.pid, "user") != namespace("self", "user"), "in our user namespace")
        for task in j.tasks():
            must(os.path.samefile(task / "root", "root"), f"{task.name} has another root")
            s = status_of(task)
            must(s["Uid"] == [str(UID)] * 4, f"ids {s['Uid']}")
            for kind in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
                must(int(s[kind][0], 16) == 0, f"{task.name} has {kind} {s[kind]}")
        must(j.end(signal.SIGTERM) == -signal.SIGTERM, "does not end")
    refused(2, "only root", command=[*user, *line()])


def bad_input():
    refused(2, "nowhere", jail=f"nowhere,uid={UID},gid={GID}")
    refused(2, "Not a directory", jail=f"disk,uid={UID},gid={GID}")
    refused(2, "uid", jail="root")
    refused(2, "gid", jail=f"root,uid={UID}")
    refused(2, "uid: 0", jail=f"root,uid=0,gid={GID}")
    refused(2, "DIR", jail=f"uid={UID},gid={GID}")
    refused(2, "cgroup nowhere", jail=f"{JAIL},cgroup=nowhere")
    refused(2, "netns nowhere", jail=f"{JAIL},netns=nowhere")
    refused(2, "netns disk: is no network", jail=f"{JAIL},netns=disk")
    refused(2, "contradict", command=[VMM, "--jail", JAIL, "--dump-dtb", "dtb"])
    keep = ["setpriv", "--securebits=+no_setuid_fixup"]
    refused(1, "securebits", command=[*keep, *line()])
    bare = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    refused(1, "namespaces", command=[*bare, *line()])


CASES = [a_guest_runs, a_reset_in_place, namespaces_of_its_own, an_empty_root, no_rights,
         files_of_roots, exit_statuses, signals, killed, a_bug_of_ours, stops_do_not_part_them,
         a_terminal, a_terminal_of_somebody_elses, networks, a_control_group, sockets_that_go,
         started_by_the_api, bad_input,
         as_an_ordinary_user]  # the last: it changes our mounts


def main():
    if os.geteuid() != 0:
        print("SKIP: root only")
        sys.exit(77)
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
        subprocess.run(["unshare", "-mpf", "true"], check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"SKIP: {e}")
        sys.exit(77)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="vmm-jail.") as work:
        os.chdir(work)
        os.chmod(work, 0o711)
        subprocess.run([sys.executable, HERE.parent / "cli/files.py", work], check=True)
        shutil.copy("disk", "disk2")
        os.mkdir("root")
        for case in CASES:
            if sys.argv[3:] and case.__name__ not in sys.argv[3:]:
                continue
            try:
                case()
                print(f"PASS {case.__name__}", flush=True)
            except Skip as e:
                print(f"SKIP {case.__name__}: {e}", flush=True)
            except (Wrong, subprocess.TimeoutExpired, OSError) as e:
                print(f"FAIL {case.__name__}: {e}", flush=True)
                failed += 1
        os.chdir("/")
    sys.exit(1 if failed else 0)


main()
