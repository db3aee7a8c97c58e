"""The one event log that every page, command and alert reads.

An event is a thing that happened, with its evidence. `EventLog` keeps the latest in memory and all of them, up to a
size, in a file of JSON lines. A disk that is full or read-only does not stop it: the events stay in memory, and what
the file misses is said when it can be written again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")

LONGEST = 64 * 1024  # an event that is longer is a bug of its writer; its evidence is dropped
REMEMBERED = 2 * 2**20  # bytes of events that are kept in memory, as the lines that they are


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`time` in seconds since 1970, `kind` like "peer.down", `subject` whom it is about, `text` for a person."""

    time: float
    kind: str
    severity: Severity = "info"
    subject: str = ""
    text: str
    evidence: dict[str, Any] = {}

    def line(self) -> str:
        """For a terminal or a journal: "2026-01-31T12:00:00Z warning peer.down dc: text"."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time))
        about = f" {self.subject}" if self.subject else ""
        return f"{when} {self.severity} {self.kind}{about}: {' '.join(self.text.split())}"


_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One line of JSON without its newline, at most 64 KiB: evidence that would make it longer is left out."""
    line = _encoder.encode(event)
    if len(line) > LONGEST:
        cut = msgspec.structs.replace(event, text=event.text[:4096], evidence={"left_out_bytes": len(line)})
        line = _encoder.encode(cut)
    return line


def decode(line: bytes) -> Event:
    """The event of a line; msgspec.DecodeError if it is none."""
    try:
        return _decoder.decode(line)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these through as they are
        raise msgspec.DecodeError(str(error)) from None


def say(event: Event, journal: TextIO | None = None) -> None:
    """A line for the journal (standard error). One that cannot be written is lost: nobody may die of it.

    A log file on a full disk or a pipe whose reader has gone would otherwise take the daemons with it.
    """
    with contextlib.suppress(OSError, ValueError):
        print(event.line(), file=sys.stderr if journal is None else journal, flush=True)


class EventLog:
    """Bounded log: the newest `keep` bytes of events in memory, `size` bytes on disk in `path` and `path`.1."""

    def __init__(
        self,
        path: Path,
        *,
        size: int,
        keep: int = REMEMBERED,
        echo: TextIO | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._size = size
        self._echo = sys.stderr if echo is None else echo
        self._clock = clock
        self._keep = keep
        self._recent: deque[tuple[float, bytes]] = (
            deque()
        )  # as lines: as events they would take four times as much
        self._kept = 0
        self._unwritten = 0
        self._last_problem = ""
        for part in (self._older, self._path):
            for when, line in _read(part, keep):
                self._remember(when, line)

    @property
    def _older(self) -> Path:
        return self._path.with_name(self._path.name + ".1")

    def resize(self, size: int) -> None:
        """Change the bound on disk, in bytes; it holds from the next event on."""
        self._size = size

    def append(self, event: Event, *, echo: bool = True) -> None:
        """Keep `event`, write it to the file and, unless its maker has done so (`echo`), to the terminal."""
        line = encode(event)
        self._remember(event.time, line)
        if echo:
            say(event, self._echo)
        lines = line + b"\n"
        if self._unwritten:
            lines = encode(self._gap()) + b"\n" + lines
        try:
            self._write(lines)
        except OSError as error:
            self._unwritten += 1
            problem = error.strerror or str(error)
            if problem != self._last_problem:  # say it once, not with every event
                self._last_problem = problem
                self._lament(problem)
            return
        if self._unwritten:
            gap = self._gap()
            self._unwritten, self._last_problem = 0, ""
            self._remember(gap.time, encode(gap))
            say(gap, self._echo)

    def since(self, moment: float = float("-inf")) -> list[Event]:
        """The events in memory after `moment` (seconds since 1970), oldest first."""
        return [decode(line) for when, line in self._recent if when > moment]

    def _remember(self, when: float, line: bytes) -> None:
        self._recent.append((when, line))
        self._kept += len(line)
        while self._kept > self._keep:
            _, oldest = self._recent.popleft()
            self._kept -= len(oldest)

    def _lament(self, problem: str) -> None:
        lament = Event(
            time=self._clock(),
            kind="log.failed",
            severity="error",
            subject=str(self._path),
            text=f"events cannot be written to disk ({problem}); the newest are kept in memory. "
            "Free space or make the directory writable",
        )
        self._remember(lament.time, encode(lament))
        say(lament, self._echo)

    def _gap(self) -> Event:
        return Event(
            time=self._clock(),
            kind="log.recovered",
            severity="warning",
            subject=str(self._path),
            text=f"events are written to disk again; {self._unwritten} before this one are not in the file",
            evidence={"missing": self._unwritten},
        )

    def _write(self, lines: bytes) -> None:
        try:
            full = self._path.stat().st_size + len(lines) > self._size // 2
        except FileNotFoundError:
            full = False
        if full:
            os.replace(self._path, self._older)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            before = os.fstat(descriptor).st_size
            if before and os.pread(descriptor, 1, before - 1) != b"\n":
                lines = b"\n" + lines  # a crash has left half a line
            if os.write(descriptor, lines) != len(lines):
                os.ftruncate(descriptor, before)
                raise OSError(28, "No space left on device")
        finally:
            os.close(descriptor)


def _read(path: Path, most: int) -> Iterable[tuple[float, bytes]]:
    """The newest events of a file, in `most` bytes; lines that are none (a crash in the middle of one) are left out."""
    try:
        with path.open("rb") as file:
            file.seek(-min(most, os.fstat(file.fileno()).st_size), os.SEEK_END)
            data = file.read()
    except OSError:
        return  # not there yet, or not readable: then writing will say so
    for line in data.split(b"\n"):
        try:
            yield decode(line).time, line
        except msgspec.DecodeError:
            continue
