"""The lab without root: run a command as root of a user namespace of its own.

The command gets user, network, mount and pid namespaces: it may build networks and load rule sets, none of
which anyone else sees, and everything in it ends with it. `python -m appliance.lab.rootless -- COMMAND`; for
a user who already may do these things it just runs the command.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from appliance.lab.tools import LabError, check

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
SI_USER = 0
FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_libc = ctypes.CDLL(None, use_errno=True)


def privileged() -> bool:
    """True when this process may make network namespaces as it is."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return bool(bits >> CAP_NET_ADMIN & 1 and bits >> CAP_SYS_ADMIN & 1)
    return False


def all_users() -> bool:
    """True when this process's user namespace has every user, as a machine's own has; some servers need that."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind else None
    _checked(
        _libc.mount(source.encode(), target.encode(), encoded, ctypes.c_ulong(flags), None),
        f"mount {kind or 'private'} on {target}",
    )


def _unshare() -> None:
    """Become root of a new user namespace; processes forked from now on are in a new pid namespace."""
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID
    _checked(_libc.unshare(flags), "unshare --user --net --mount --pid")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _furnish() -> None:
    """What pid 1 of the namespaces needs: its own /proc, and a /run where network namespaces get names."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV)


def _fork(child: Callable[[], NoReturn]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(126)
    return pid


def _tend(child: int) -> int:
    """Pass signals on to the child and reap until it ends; returns its exit status, 128 + signal."""
    while True:
        received = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD})
        if received.si_signo == signal.SIGCHLD:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == 0:
                    break
                if pid == child:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
        elif received.si_code <= SI_USER:
            # From kill(1); a terminal's Ctrl-C (sent by the kernel) has reached the child already.
            os.kill(child, received.si_signo)


def _die_with_parent() -> None:
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _init(argv: Sequence[str]) -> NoReturn:
    """Pid 1 of the new namespace: reaps whatever is orphaned there, ends when the command ends."""

    def command() -> NoReturn:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.execvp(argv[0], list(argv))

    _die_with_parent()
    _furnish()
    check(["ip", "link", "set", "lo", "up"])
    os._exit(_tend(_fork(command)))


def probe() -> str | None:
    """None when a command can be run this way here, otherwise what stands against it and the remedy."""
    readable, writable = os.pipe()

    def attempt() -> NoReturn:
        def inner() -> NoReturn:
            try:
                _furnish()
            except OSError as error:
                os.write(writable, str(error).encode())
            os._exit(0)

        try:
            _unshare()
            os.waitpid(_fork(inner), 0)
        except OSError as error:
            os.write(writable, str(error).encode())
        os._exit(0)

    pid = _fork(attempt)
    os.close(writable)
    os.waitpid(pid, 0)
    with os.fdopen(readable) as pipe:
        said = pipe.read()
    return f"this user cannot make namespaces here ({said}): {remedy()}" if said else None


def remedy(sysctls: Path = Path("/proc/sys")) -> str:
    """What to do where user namespaces are restricted, from what the kernel's settings say."""
    switches = (
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    )
    for path, bad, good in switches:
        file = sysctls / path
        if file.exists() and file.read_text().strip() == bad:
            return f"as root run `sysctl -w {good}`, or run the command as root"
    return "run the command as root, or in a container that is allowed to (podman, docker: --privileged)"


def run(argv: Sequence[str]) -> NoReturn:
    """Run a command as root of its own namespaces and exit with its status.

    Call it before the process has threads. Raises LabError with the remedy where that is not allowed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if privileged():
        os.execvp(argv[0], list(argv))
    problem = probe()
    if problem:
        raise LabError(problem)
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    _unshare()
    os._exit(_tend(_fork(lambda: _init(argv))))


def ensure() -> None:
    """Return in a process that may build labs: this one, or this same command run again by run()."""
    if not privileged():
        run([sys.executable, *sys.orig_argv[1:]])


def main() -> NoReturn:
    argv = sys.argv[1:]
    if argv[:1] == ["--"]:
        argv = argv[1:]
    if not argv:
        sys.exit("usage: python -m appliance.lab.rootless -- COMMAND [ARGUMENT...]")
    try:
        run(argv)
    except LabError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
