"""How much of the machine is in use: the loop's time, the machine's memory, the process's descriptors."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import Final, NamedTuple

from appliance.loop import Loop

SAMPLE_S = 1.0
SPARE_DESCRIPTORS = 256  # for everything that is neither a flow nor a peer's,
PEER_DESCRIPTORS = 16  # and for a peer's listeners and lanes
SCARCE = 50  # of the memory, the fiftieth that is never given to flows,
MOST_SCARCE = 256 << 20  # or so many bytes of a large one

_MEMINFO: Final = "/proc/meminfo"
_NR_OPEN: Final = Path("/proc/sys/fs/nr_open")
_LINES: Final = re.compile(rb"^(MemTotal|MemAvailable): +(\d+) kB", re.MULTILINE)


class Sample(NamedTuple):
    """Share of its time that the loop was at work; seconds in which it came round; how far the machine is from being
    short of memory (below 0: it is; at 1: that is over)."""

    busy: float = 0.0
    turn: float = 0.0
    memory_left: float = 1.0


class Gauges:
    def __init__(self, loop: Loop) -> None:
        self.sample = Sample()
        self._loop = loop
        # Held open: it must be read when there is no descriptor left.
        self._meminfo = os.open(_MEMINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._at, self._slept, self._rounds = loop.clock(), loop.slept, loop.rounds

    def read(self, now: float) -> Sample:
        """What was measured in the last second."""
        seconds = now - self._at
        if seconds >= SAMPLE_S:
            rounds = max(1, self._loop.rounds - self._rounds)
            worked = max(0.0, seconds - (self._loop.slept - self._slept))
            self.sample = Sample(
                worked / seconds, worked / rounds, memory_left(os.pread(self._meminfo, 4096, 0))
            )
            self._at, self._slept, self._rounds = now, self._loop.slept, self._loop.rounds
        return self.sample


def memory_left(meminfo: bytes) -> float:
    """From the text of /proc/meminfo; 1 where it does not say."""
    found = {name: int(kilobytes) << 10 for name, kilobytes in _LINES.findall(meminfo)}
    if len(found) < 2:
        return 1.0
    scarce = min(found[b"MemTotal"] // SCARCE, MOST_SCARCE)
    return found[b"MemAvailable"] / scarce - 1


def raise_descriptors(wanted: int) -> int:
    """Lets this process open `wanted` descriptors, or as many as it may; returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(max(hard, wanted), int(_NR_OPEN.read_text()))
    if most > hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            return most
        except (OSError, ValueError):
            pass  # not without CAP_SYS_RESOURCE
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def for_others(peers: int) -> int:
    """Descriptors for everything that is no flow, with so many peers."""
    return SPARE_DESCRIPTORS + PEER_DESCRIPTORS * peers
