"""A log that outlives the process: what of it is held, saved, leased and verified."""

import mmap
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import xxhash

from dedupe.log import Log
from dedupe.offer import Agreement, LogState
from dedupe.ranges import Ranges, above, add, common, drop, join, total, within
from dedupe.store.journal import Journal
from dedupe.store.ledger import Kind, Record, Role
from dedupe.store.ring import DiskRing
from dedupe.store.tail import Fresh

LARGEST_LEASE = 1 << 26
MOST_DROPPED = 1 << 31  # by one record
ENDLESS = 1 << 62

Quiesce = Callable[[], None]
Learn = Callable[[int, bytes], None]


@dataclass(slots=True)
class Losses:
    """Bytes no longer held since somebody looked last, by cause."""

    late: int = 0  # the disk did not keep up
    unreadable: int = 0
    damaged: int = 0  # the checksum differs


class DiskLog(Log):
    """Log with a file behind it.

    `held` is what this side has; `valid`, a part of it, is what both have agreed on since the session began, and so
    what an encoder may refer to. Traffic touches memory only. `save` carries it to the disk, `verify` reads back what
    an earlier process left; both belong to one background thread. The lock covers what the two sides change; it is
    never held over a call that may wait for the disk, except for a segment's older part when it is written again.
    """

    def __init__(self, ring: DiskRing, journal: Journal, span: int, gap: int) -> None:
        ledger, role = journal.ledger, journal.header.role
        super().__init__(journal.header.epoch, span, gap, ring)
        self.role = role
        self.losses = Losses()
        self._least_lease = max(1 << ring.bits, min(LARGEST_LEASE, span // 32))
        self._most_lease = max(1 << ring.bits, min(LARGEST_LEASE, span // 8))
        usual = max(self._least_lease, self._most_lease // 2)
        self.lease = usual if role is Role.WRITTEN else ENDLESS
        self.head = max(ledger.leased, ledger.newest_end()) if ledger.closed is None else ledger.closed
        self.leased = self.head if role is Role.WRITTEN else ENDLESS
        self._disk, self._journal = ring, journal
        self._lock = threading.Lock()
        self._generation = 0  # counts the times that everything was given up
        self._journal_is_stale = False
        self._trusted = ledger.trusted
        self._floor = ring.floor(self.head)
        self._unverified = [record for record in ledger.held() if record.offset >= self._floor]
        self._left = sum(record.length for record in self._unverified)
        self._held: Ranges = ()
        if self._trusted:
            for record in self._unverified:
                self._held = join(self._held, record.offset, record.end)
        self._forgotten: list[tuple[int, int]] = []

    # What traffic does; see Log.

    @property
    def held(self) -> Ranges:
        return self._held

    def state(self) -> LogState:
        return LogState(self.epoch, self.head, self._own_span, self._own_gap, self._held)

    def agree(self, agreement: Agreement) -> None:
        with self._lock:
            behind = self.role is Role.WRITTEN and agreement.head > self.head
            if behind or agreement.epoch != self.epoch:
                self._give_up(agreement.epoch)
            self.epoch, self.head = agreement.epoch, agreement.head
            self.span, self.gap = agreement.span, agreement.gap
            self._floor = max(self._floor, self._disk.floor(self.head))
            self._held = above(self._held, self._floor)
            self.valid = common(agreement.valid, self._held)

    def begin(self, start: int, end: int) -> None:
        with self._lock:
            self._floor = max(self._floor, self._disk.floor(end))
            self._held = above(self._held, self._floor)
            lost = self._disk.open_segments(start, end, self._held)
            if lost:
                self.disturbed += 1
            for low, high in lost:
                self.losses.late += total(within(self._held, low, high))
                self._held = drop(self._held, low, high)
            self.valid = common(self.valid, self._held) if lost else above(self.valid, self._floor)
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

    # What the background thread does.

    @property
    def wants_save(self) -> bool:
        """The lease or the memory is half used up."""
        return self.leased - self.head < self.lease // 2 or 2 * len(self._disk.tail) > self._disk.shape.tail

    @property
    def unverified(self) -> int:
        """Bytes from before the start that nobody has looked at yet."""
        return self._left

    def save(self, budget: int, quiesce: Quiesce) -> bool:
        """Carry up to about `budget` bytes to the disk; True if there is more.

        quiesce returns when every encode and decode that was running has ended. OSError: try again later.
        """
        self._follow_epoch()
        self._extend_lease()
        self._look_for_faults(quiesce)
        with self._lock:
            generation = self._generation
            todo, more = self._due(budget)
            forgotten, self._forgotten = self._forgotten, []
        try:
            records = [*self._drops(forgotten), *self._write(todo)]
            if not records or generation != self._generation:
                return more
            self._journal.append(records)
        except OSError:
            with self._lock:
                self._forgotten = forgotten + self._forgotten
            raise
        with self._lock:
            retired = self._settle(todo)
        if retired:
            quiesce()
            with self._lock:
                for place in retired:
                    self._disk.tail.release(place)
        return more

    def verify(self, budget: int, learn: Learn) -> bool:
        """Read back up to about `budget` bytes, newest first; True if there is more.

        learn(offset, bytes) gets all that is right.
        """
        while self._unverified and budget > 0:
            try:
                record = self._unverified.pop()
            except IndexError:  # another session has just given everything up
                break
            budget -= record.length
            self._left = max(0, self._left - record.length)
            if self._passed_over(record):
                continue
            generation = self._generation
            try:
                data = self._disk.file.read(self._disk.at(record.offset), record.length)
            except OSError:
                self.losses.unreadable += record.length
                self.forget(record.offset, record.end)
                continue
            if len(data) < record.length or self._hash(data) != record.hash:
                if generation != self._generation:
                    break
                self.losses.damaged += record.length
                self.forget(record.offset, record.end)
                continue
            with self._lock:
                if not self._passed_over(record):
                    self._held = join(self._held, record.offset, record.end)
            learn(record.offset, data)
        if not self._unverified:
            self._left = 0
        return bool(self._unverified)

    def close(self, quiesce: Quiesce) -> None:
        """An orderly end: everything saved, and written down that it is so. OSError: it will look like a crash."""
        try:
            while self.save(1 << 30, quiesce):
                pass
            if self.epoch:
                doubtful = bool(self._unverified) and not self._trusted
                self._journal.append([Record(Kind.CLOSED, self.head, int(doubtful))])
        finally:
            self._journal.close()
            self._disk.close()

    def begin_use(self) -> None:
        """Leave a mark that no orderly end has been reached yet, and get the first lease. OSError."""
        self._journal.ledger.reopen()
        if self.role is Role.WRITTEN:
            self._lease_from(self.head)
        elif self.epoch:
            self._journal.rewrite()

    # The parts of it.

    def _follow_epoch(self) -> None:
        """After everything was given up: a new journal, which takes the old one's place with its first records."""
        with self._lock:
            if not self._journal_is_stale:
                return
            self._journal_is_stale = False
            self._trusted = True
            self._journal.close()
            self._journal = self._journal.successor(self.epoch)
        if self.role is Role.WRITTEN:
            self._lease_from(self.head)

    def _extend_lease(self) -> None:
        """Longer ones while much is written: what is left of a lease after a crash is a hole."""
        left = self.leased - self.head
        if left >= self.lease * 3 // 4:
            return
        if left < self.lease // 4:
            self.lease = min(2 * self.lease, self._most_lease)
        elif left > self.lease // 2:
            self.lease = max(self.lease // 2, self._least_lease)
        self._lease_from(self.head)

    def _lease_from(self, head: int) -> None:
        self._journal.append([Record(Kind.LEASED, head + self.lease)])
        self.leased = head + self.lease

    def _due(self, budget: int) -> tuple[list[tuple[Fresh, Ranges, bool]], bool]:
        """Segments with something to save: what is held of each, and whether it is complete."""
        due: list[tuple[Fresh, Ranges, bool]] = []
        for fresh in self._disk.tail:
            first = fresh.segment << self._disk.bits
            last = first + (1 << self._disk.bits)
            pieces = within(self._held, first, last)
            complete = self.head >= last
            if not complete and (not pieces or pieces[-1][1] <= fresh.saved):
                continue
            if budget <= 0:
                return due, True
            due.append((fresh, pieces, complete))
            budget -= total(pieces)
        return due, False

    def _write(self, todo: Iterable[tuple[Fresh, Ranges, bool]]) -> list[Record]:
        """Their bytes, on the disk when this returns, and the records that say so."""
        written = []
        for fresh, pieces, _ in todo:
            for low, high in pieces:
                memory = self._disk.memory(fresh, low, high)
                made = Record(Kind.HELD, low, high - low, self._hash(memory))
                if high > fresh.saved:
                    start = max(low, fresh.saved)
                    self._disk.file.write(self._disk.at(start), memory[start - low :])
                written.append((fresh, made))
        if written:
            self._disk.file.sync()
        with self._lock:  # what had to give way meanwhile may have been written over before it was read
            return [made for fresh, made in written if self._disk.tail.holds(fresh)]

    def _settle(self, todo: Iterable[tuple[Fresh, Ranges, bool]]) -> list[int]:
        """The segments are on the disk; the complete ones leave memory. Returns their places."""
        retired = []
        for fresh, pieces, complete in todo:
            if not self._disk.tail.holds(fresh):
                continue
            if pieces:
                fresh.saved = max(fresh.saved, pieces[-1][1])
            if complete:
                self._disk.retire(fresh)
                retired.append(fresh.place)
        return retired

    def _drops(self, forgotten: Iterable[tuple[int, int]]) -> list[Record]:
        """Records of holes, and of what is still held beside them in the same segments."""
        records: list[Record] = []
        for start, end in forgotten:
            for low in range(start, end, MOST_DROPPED):
                records.append(Record(Kind.DROPPED, low, min(MOST_DROPPED, end - low)))
            for segment in sorted({start >> self._disk.bits, end - 1 >> self._disk.bits}):
                first = segment << self._disk.bits
                for low, high in within(self._held, first, first + (1 << self._disk.bits)):
                    records.extend(self._again(segment, low, high))
        return records

    def _again(self, segment: int, low: int, high: int) -> list[Record]:
        if segment in self._disk.tail:
            return []  # it is not complete, or is about to be saved: its records follow
        try:
            data = self._disk.file.read(self._disk.at(low), high - low)
        except OSError:
            self.losses.unreadable += high - low
            with self._lock:
                self._held, self.valid = drop(self._held, low, high), drop(self.valid, low, high)
            return []
        return [Record(Kind.HELD, low, len(data), self._hash(data))]

    def _look_for_faults(self, quiesce: Quiesce) -> None:
        """Forget what the mapping could not read, and map it anew: it may be readable once more when rewritten."""
        places = self._disk.mapping.failed()
        if places == []:
            return
        with self._lock:
            before = total(self._held)
            for offset, end in self._unreadable(places):
                self._forget(offset, end)
            self.losses.unreadable += before - total(self._held)
            old = self._disk.remap()
        quiesce()
        old.close()

    def _unreadable(self, places: list[int] | None) -> list[tuple[int, int]]:
        """The ranges of offsets at these places of the file; None: all that is not in memory."""
        bits, size, tail = self._disk.bits, self._disk.size, self._disk.tail
        top = -(-self.head >> bits) << bits
        if places is None:
            lowest = min((fresh.segment << bits for fresh in tail), default=top)
            return [(max(0, self._floor), lowest)] if lowest > max(0, self._floor) else []
        found = []
        for place in places:
            offset = top - 1 - (top - 1 - place) % size
            if offset >> bits in tail:  # what failed is what was there before
                offset -= size
            if offset >= 0:
                found.append((offset, offset + mmap.PAGESIZE))
        return found

    def _passed_over(self, record: Record) -> bool:
        return record.offset < self._floor or record.offset >> self._disk.bits in self._disk.tail

    def _forget(self, start: int, end: int) -> None:
        self._held, self.valid = drop(self._held, start, end), drop(self.valid, start, end)
        self._forgotten.append((start, end))
        for fresh in self._disk.tail:  # what is left of it must be put down again
            if start < fresh.segment + 1 << self._disk.bits and end > fresh.segment << self._disk.bits:
                fresh.saved = fresh.segment << self._disk.bits

    def _give_up(self, epoch: int) -> None:
        """Nothing that is there counts any more. Nobody encodes or decodes meanwhile."""
        self._generation += 1
        self._held = self.valid = ()
        self._unverified.clear()
        self._left = 0
        self._forgotten.clear()
        for fresh in self._disk.tail:
            self._disk.retire(fresh)
            self._disk.tail.release(fresh.place)
        self._journal_is_stale = True
        if epoch != self.epoch:
            self._floor = self.overwritten = 0

    def _hash(self, data: bytes | memoryview) -> int:
        return xxhash.xxh3_64_intdigest(data, self.epoch)
