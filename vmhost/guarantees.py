"""The router's share of this box: what the QEMU of a machine that has just started is put under.

libvirt's own settings for these refuse to start a machine where the kernel has not got what they need, so they are
written here once it runs, each where it can be had; what cannot is said. Disks are limited in the domain: QEMU does it
itself, everywhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmhost.processes import PIDS, emulator

SHARE = 0.1
"""Of the weight of one ordinary process or group: what all machines together get of the processors that others want."""
NICE = 10  # the same weight in the kernel's table: 110 of 1024
KILLED_FIRST = 500  # out of 1000 that the whole memory counts
_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_NORMAL = {"cpu.weight": 100, "cpu.shares": 1024}  # control groups of version 2 and 1


@dataclass(frozen=True)
class Held:
    """processor: by what a machine yields to the router; memory likewise. missing: what could not be had, and why."""

    processor: str
    memory: str
    missing: tuple[str, ...]


class Guarantees:
    """Put on machines by their pid files in `pids`."""

    def __init__(self, pids: Path = PIDS) -> None:
        self._pids = pids
        self.held: dict[str, Held] = {}
        """By the machines that run."""

    def put_on(self, name: str) -> Held:
        """Put a machine that runs under all that can be had here."""
        missing = []
        processor = memory = ""
        try:
            pid = emulator(name, self._pids)
        except ProcessLookupError as error:
            missing.append(str(error))
        else:
            try:
                processor = self._yield_processor(pid)
            except OSError as error:
                missing.append(f"processor: {error}")
            try:
                (_PROC / str(pid) / "oom_score_adj").write_text(str(KILLED_FIRST))
                memory = f"ended before the router when memory runs out (oom_score_adj {KILLED_FIRST})"
            except OSError as error:
                missing.append(f"memory: {error}")
        self.held[name] = Held(processor, memory, tuple(missing))
        return self.held[name]

    def let_go(self, name: str) -> None:
        """It runs no more."""
        self.held.pop(name, None)

    def _yield_processor(self, pid: int) -> str:
        """Its control group is idle or weighs little; if it has none apart from ours, its threads are nice.

        Returns which. Idle is better: the router takes the processor at once when it wakes, where it waits for the end
        of a slice of a group that merely weighs little (downloads beside a machine that burns: 0.98 x against 0.78 x).
        """
        for file in self._weights(pid):
            where = f"on the control group {file.parent.relative_to(_GROUPS)}"
            with contextlib.suppress(FileNotFoundError):  # a kernel before 5.15, or none of the controller
                _put(file.with_name("cpu.idle"), 1)
                return f"cpu.idle {where}: it gets what the router leaves"
            with contextlib.suppress(FileNotFoundError):  # the controller is not switched on for these groups
                normal = _NORMAL[file.name]
                weight = round(normal * SHARE)
                _put(file, weight)
                return f"{file.name} {weight} of {normal} {where}"
        for thread in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)
        _weigh_session(pid)
        return f"nice {NICE}, for want of a control group of its own"

    def _weights(self, pid: int) -> Iterator[Path]:
        """Files that may hold the weight of its group beside ours."""
        ours = _memberships((_PROC / "self" / "cgroup").read_text())
        theirs = _memberships((_PROC / str(pid) / "cgroup").read_text())
        for controller, file in (("", "cpu.weight"), ("cpu", "cpu.shares")):
            group = parting(ours.get(controller, ""), theirs.get(controller, ""))
            if group:
                yield _GROUPS / controller / group / file


def _put(file: Path, value: int) -> None:
    with file.open("r+") as opened:  # open(2) must not make a file where there is no cgroup
        opened.write(str(value))


def _weigh_session(pid: int) -> None:
    """Where the scheduler groups sessions, niceness counts within one only: make that group nice as well."""
    try:
        (_PROC / str(pid) / "autogroup").write_text(str(NICE))
    except FileNotFoundError:
        pass  # it does not group them
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # it is in the root's group, whose weight is fixed and where niceness counts
            raise


def parting(ours: str, theirs: str) -> str:
    """The outermost group that holds `theirs` and not `ours`, without the first slash; "" if there is none. Pure.

    That is where the kernel weighs the one against the other: "/machine.slice/a" beside "/system.slice/b" is
    "machine.slice".
    """
    other = ours.strip("/").split("/")
    path: list[str] = []
    for at, part in enumerate(theirs.strip("/").split("/")):
        path.append(part)
        if at >= len(other) or other[at] != part:
            return "/".join(path)
    return ""


def _memberships(text: str) -> dict[str, str]:
    """Group by controller ("" is that of version 2), from /proc/PID/cgroup: "1:cpu,cpuacct:/machine"."""
    found = {}
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = group
    return found
