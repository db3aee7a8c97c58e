"""Names of a lab's namespaces, and taking back those that a killed run could not remove.

A name carries the pid and the start time of the process that made it, so that a namespace whose maker is
gone is recognised as a leftover, also when the pid has been given to another process since.
"""

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from appliance.lab import namespace
from appliance.lab.tools import LabError, check

PREFIX = "branchline-lab"
_NAME = re.compile(r"(?P<prefix>.+)-(?P<pid>\d+)\.(?P<start>\d+)\.(?P<number>\d+)-(?P<host>[a-z][a-z-]*)")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class LabName:
    """prefix-pid.start.number: unique among all labs that run or ever ran on this machine since it booted."""

    prefix: str
    pid: int
    start: int
    number: int

    def of_host(self, host: str) -> str:
        return f"{self.prefix}-{self.pid}.{self.start}.{self.number}-{host}"


def start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None when there is no such process or it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def new_name(prefix: str = PREFIX) -> LabName:
    start = start_time(os.getpid())
    if start is None:
        raise LabError("/proc does not show this process; mount /proc for this pid namespace")
    return LabName(prefix, os.getpid(), start, next(_numbers))


def parse(name: str) -> tuple[LabName, str] | None:
    """(lab, host) of a namespace's name, None when no lab gave it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    lab = LabName(match["prefix"], int(match["pid"]), int(match["start"]), int(match["number"]))
    return lab, match["host"]


def stale(prefix: str = PREFIX) -> list[str]:
    """Namespaces of labs with this prefix whose process is gone."""
    if not namespace.DIRECTORY.is_dir():
        return []
    found = []
    for name in sorted(os.listdir(namespace.DIRECTORY)):
        parsed = parse(name)
        if parsed and parsed[0].prefix == prefix and start_time(parsed[0].pid) != parsed[0].start:
            found.append(name)
    return found


def remove(names: list[str]) -> None:
    """End what runs in these namespaces and delete them; one that is already gone is fine."""
    stuck = namespace.kill_processes(namespace.path_of(name) for name in names)
    for name in names:
        try:
            check(["ip", "netns", "delete", name])
        except LabError:
            # Another lab's start may be taking back the same leftovers at this moment.
            if namespace.path_of(name).exists():
                raise
    if stuck:
        raise LabError(f"processes {stuck} in {', '.join(names)} did not end within 5 s of SIGKILL")


def reclaim(prefix: str = PREFIX) -> list[str]:
    """Remove the leftovers of killed labs; returns their names."""
    names = stale(prefix)
    if names:
        remove(names)
    return names
