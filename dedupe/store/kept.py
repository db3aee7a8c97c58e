"""What traffic sees of a log with a file behind it: which offsets are held, and which of them not for the moment."""

import threading
from dataclasses import dataclass

from dedupe.log import Log
from dedupe.offer import Agreement, LogState
from dedupe.ranges import Ranges, above, add, common, drop, join, total, within
from dedupe.store.ledger import Role
from dedupe.store.ring import DiskRing


@dataclass(slots=True)
class Losses:
    """Bytes no longer held since somebody looked last, by cause."""

    late: int = 0  # the disk did not keep up
    unreadable: int = 0
    damaged: int = 0  # the checksum differs


@dataclass(slots=True)
class Aside:
    """What would be held and valid if the disk answered."""

    held: Ranges
    valid: Ranges

    def drop(self, start: int, end: int) -> None:
        self.held, self.valid = drop(self.held, start, end), drop(self.valid, start, end)


class KeptLog(Log):
    """`held` is what this side has; `valid`, a part of it, is what both have agreed on since the session began, and so
    what an encoder may refer to. Traffic touches memory only, unless it reads what is on the disk alone; while the
    disk does not answer, `set_aside` keeps it from that.

    The lock covers what traffic and the background thread (DiskLog) change; it is never held over a call that may wait
    for the disk, except for a segment's older part when it is written again.
    """

    def __init__(self, epoch: int, ring: DiskRing, role: Role, span: int, gap: int) -> None:
        super().__init__(epoch, span, gap, ring)
        self.role = role
        self.losses = Losses()
        self._disk = ring
        self._lock = threading.Lock()
        self._floor = 0
        self._held: Ranges = ()
        self._aside: Aside | None = None
        self._forgotten: list[tuple[int, int]] = []

    @property
    def held(self) -> Ranges:
        return self._held

    def state(self) -> LogState:
        return LogState(self.epoch, self.head, self._own_span, self._own_gap, self._held)

    def agree(self, agreement: Agreement) -> None:
        with self._lock:
            ahead = agreement.head - self.head  # of a copy, if it is not that it had a head that never was
            if agreement.epoch != self.epoch or (ahead > 0 if self.role is Role.WRITTEN else ahead < 0):
                self._give_up()
            self.epoch, self.head = agreement.epoch, agreement.head
            self.span, self.gap = agreement.span, agreement.gap
            self._rise(self.head)
            self.valid = common(agreement.valid, self._held)
            if self._aside is not None:
                self._aside.valid = ()

    def begin(self, start: int, end: int) -> None:
        with self._lock:
            self._rise(end)
            if self._aside is not None:  # what is on the disk of a segment cannot be fetched into its memory
                for first, last in self._disk.unopened(start, end):
                    self._aside.drop(first, last)
            gone = self._disk.open_segments(start, end, self._held)
            if gone:
                self.disturbed += 1
            for low, high, saved in gone:
                self._make_way(low, high, saved)
            self.valid = common(self.valid, self._held) if gone else above(self.valid, self._floor)
            self.overwritten = max(self.overwritten, self._floor)
            self.head = start

    def finish(self, start: int, end: int) -> None:
        with self._lock:
            self._held = add(self._held, start, end)
            self.valid = add(self.valid, start, end)
            self.head = end

    def forget(self, start: int, end: int) -> None:
        with self._lock:
            self._forget(start, end)

    def unshare(self, start: int, end: int) -> None:
        with self._lock:
            self.valid = drop(self.valid, start, end)
            if self._aside is not None:
                self._aside.valid = drop(self._aside.valid, start, end)

    def set_aside(self) -> None:
        """Use only what is in memory from the next block on. Any thread."""
        with self._lock:
            if self._aside is not None:
                return
            memory: Ranges = ()
            for fresh in self._disk.tail:
                memory = join(memory, fresh.segment << self._disk.bits, fresh.segment + 1 << self._disk.bits)
            held, valid = self._held, self.valid
            self._held, self.valid = common(held, memory), common(valid, memory)
            for start, end in memory:
                held, valid = drop(held, start, end), drop(valid, start, end)
            self._aside = Aside(held, valid)
            self.leasing = False

    def bring_back(self) -> None:
        """The disk answers: what was set aside and is still there counts again. Any thread."""
        with self._lock:
            aside, self._aside = self._aside, None
            if aside is not None:
                for start, end in above(aside.held, self._floor):
                    self._held = join(self._held, start, end)
                for start, end in above(aside.valid, self._floor):
                    self.valid = join(self.valid, start, end)

    # The parts of it. All of them with the lock held.

    def _rise(self, end: int) -> None:
        """What the ring has no room for when the log has been written up to `end` is gone."""
        self._floor = max(self._floor, self._disk.floor(end))
        self._held = above(self._held, self._floor)

    def _make_way(self, low: int, high: int, saved: bool) -> None:
        """A segment has left memory, for want of room there."""
        if saved and self._aside is not None:
            for start, end in within(self._held, low, high):
                self._aside.held = join(self._aside.held, start, end)
            for start, end in within(self.valid, low, high):
                self._aside.valid = join(self._aside.valid, start, end)
        else:
            self.losses.late += total(within(self._held, low, high))
        self._held = drop(self._held, low, high)

    def _forget(self, start: int, end: int) -> None:
        self._held, self.valid = drop(self._held, start, end), drop(self.valid, start, end)
        if self._aside is not None:
            self._aside.drop(start, end)
        self._forgotten.append((start, end))
        for fresh in self._disk.tail:  # what is left of it must be put down again
            if start < fresh.segment + 1 << self._disk.bits and end > fresh.segment << self._disk.bits:
                fresh.saved = fresh.segment << self._disk.bits

    def _give_up(self) -> None:
        """Nothing that is there counts any more. Nobody encodes or decodes meanwhile."""
        self._held = self.valid = ()
        if self._aside is not None:
            self._aside = Aside((), ())
        self._forgotten.clear()
        for fresh in self._disk.tail:
            self._disk.retire(fresh)
            self._disk.tail.release(fresh.place)
        self._floor = self.overwritten = 0
