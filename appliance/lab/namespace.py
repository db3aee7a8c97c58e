"""Network namespaces by name: running code inside one, finding and ending the processes in one."""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

DIRECTORY = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str) -> Path:
    return DIRECTORY / name


def _enter(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(fd)


def call(path: Path, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run fn in a throw-away thread inside the namespace and return (or raise) what it does.

    Sockets opened in fn stay in that namespace for life, whichever thread uses them later.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            _enter(path)
            results.append(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, raised there
            failures.append(error)

    thread = threading.Thread(target=body, name=f"in {path.name}", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def processes(paths: Iterable[Path]) -> Iterator[int]:
    """The pids whose main thread is in one of these namespaces."""
    wanted = set()
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        wanted.add((found.st_dev, found.st_ino))
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            of = os.stat(f"/proc/{entry}/ns/net")
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # ended meanwhile, or another user's: then it is not in a namespace of ours
        if (of.st_dev, of.st_ino) in wanted:
            yield int(entry)


def kill_processes(paths: Iterable[Path], within: float = 5.0) -> list[int]:
    """SIGKILL every process in these namespaces, their children too; returns those that would not die.

    A process that is dead but not yet reaped by its parent has left its namespace and is not counted.
    """
    deadline = time.monotonic() + within
    paths = list(paths)
    own = os.getpid()
    while left := [pid for pid in processes(paths) if pid != own]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            return left
        os.sched_yield()
    return []
