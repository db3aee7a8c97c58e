"""Processor time of everything that runs in a namespace."""

import os
from collections.abc import Iterable
from pathlib import Path

from appliance.lab import namespace

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds, user and system, of these processes and of their children that have ended.

    Resolution: a clock tick (10 ms). A process that ends meanwhile counts through its parent.
    """
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # utime, stime, cutime, cstime: fields 14 to 17; the name (field 2) may contain anything.
        ticks += sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return ticks / _TICKS


def cpu_seconds_inside(netns: Path) -> float:
    """cpu_seconds of every process in the namespace."""
    return cpu_seconds(namespace.processes([netns]))
