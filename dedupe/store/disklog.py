"""A log that outlives the process: how it is saved, leased and verified."""

from collections.abc import Callable, Iterable, Sequence

import xxhash

from dedupe.ranges import Ranges, drop, join, joined, total, within
from dedupe.store.journal import Journal
from dedupe.store.kept import KeptLog
from dedupe.store.lease import Lease
from dedupe.store.ledger import Kind, Record, Role
from dedupe.store.ring import DiskRing
from dedupe.store.tail import Fresh

MOST_DROPPED = 1 << 31  # by one record
ENDLESS = 1 << 62

Quiesce = Callable[[], None]
Learn = Callable[[int, bytes], None]


class DiskLog(KeptLog):
    """Carries to the disk what traffic has left in memory, and reads back what an earlier process left there.

    `save`, `verify` and `close` belong to one background thread, which may wait for the disk.
    """

    def __init__(self, ring: DiskRing, journal: Journal, span: int, gap: int) -> None:
        ledger, role = journal.ledger, journal.header.role
        super().__init__(journal.header.epoch, ring, role, span, gap)
        used = max(ledger.leased, ledger.newest_end()) if ledger.closed is None else ledger.closed
        self.head = used if role is Role.WRITTEN or ledger.closed is not None else ledger.newest_end()
        self._lease = Lease(span, 1 << ring.bits) if role is Role.WRITTEN else None
        self.leased = ENDLESS if self._lease is None else self.head
        self._journal = journal
        self._generation = 0  # counts the times that everything was given up
        self._journal_is_stale = False
        self._floor = ring.floor(used)
        self._unverified = [record for record in ledger.held() if record.offset >= self._floor]
        self._left = sum(record.length for record in self._unverified)
        self._held = joined((record.offset, record.end) for record in self._unverified)

    @property
    def wants_save(self) -> bool:
        """The lease or the memory is half used up."""
        if self._lease is not None and self._lease.short(self.leased - self.head):
            return True
        return self._aside is None and 2 * len(self._disk.tail) > self._disk.shape.tail

    @property
    def unverified(self) -> int:
        """Bytes from before the start that nobody has looked at yet."""
        return self._left

    @property
    def verified_from(self) -> int:
        unverified = self._unverified[-1:]  # a copy: another thread may clear it
        return unverified[0].end if unverified else 0

    def save(self, budget: int, quiesce: Quiesce) -> bool:
        """Carry up to about `budget` bytes to the disk; True if there is more.

        quiesce returns when every encode and decode that was running has ended. OSError: try again later.
        """
        try:
            more = self._save(budget, quiesce)
        except OSError:
            self.leasing = False
            raise
        self.leasing = self._aside is None
        return more

    def _save(self, budget: int, quiesce: Quiesce) -> bool:
        self._look_for_faults(quiesce)
        self._follow_epoch()
        if self._lease is not None and self._lease.adapt(self.leased - self.head):
            self._take_lease(self._lease)
        with self._lock:
            generation = self._generation
            todo, more = self._due(budget)
            forgotten, self._forgotten = self._forgotten, []
        try:
            self._announce(todo)
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
                self._journal.append([Record(Kind.CLOSED, self.head)])
        finally:
            self._journal.close()
            self._disk.close()

    def begin_use(self) -> None:
        """Leave a mark that no orderly end has been reached yet, and get the first lease. OSError."""
        self._journal.ledger.reopen()
        if self._lease is not None:
            self._take_lease(self._lease)
        elif self.epoch:
            self._journal.append([Record(Kind.LEASED, self._journal.ledger.leased)])

    # The parts of it.

    def _follow_epoch(self) -> None:
        """After everything was given up: a new journal, which takes the old one's place with its first records."""
        with self._lock:
            if not self._journal_is_stale:
                return
            self._journal_is_stale = False
            self._journal.close()
            self._journal = self._journal.successor(self.epoch)
        if self._lease is not None:
            self._take_lease(self._lease)

    def _take_lease(self, lease: Lease) -> None:
        end = self.head + lease.length
        self._journal.append([Record(Kind.LEASED, end)])
        self.leased = end

    def _announce(self, todo: Sequence[tuple[Fresh, Ranges, bool]]) -> None:
        """What the segments take the place of is not there any more, should it come to a crash before they are whole.

        A writer's lease says so as well.
        """
        end = max((fresh.segment + 1 << self._disk.bits for fresh, _, _ in todo), default=0)
        if self.role is Role.RECEIVED and end > self._journal.ledger.leased:
            self._journal.append([Record(Kind.LEASED, end + Lease(self.span, 1 << self._disk.bits).length)])

    def _due(self, budget: int) -> tuple[list[tuple[Fresh, Ranges, bool]], bool]:
        """Segments with something to save: what is held of each, and whether it is complete."""
        due: list[tuple[Fresh, Ranges, bool]] = []
        for fresh in self._disk.tail:
            first = fresh.segment << self._disk.bits
            last = first + (1 << self._disk.bits)
            pieces = within(self._held, first, last)
            complete = self.head >= last and self._aside is None  # else what is in memory stays there
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
            if complete and self._aside is None:
                self._disk.retire(fresh)
                retired.append(fresh.place)
        return retired

    def _drops(self, forgotten: Iterable[tuple[int, int]]) -> list[Record]:
        """Records of holes, and of what is still held beside them in the same segments."""
        records: list[Record] = []
        with self._lock:
            held = self._held
            for start, end in self._aside.held if self._aside is not None else ():
                held = join(held, start, end)
        for start, end in forgotten:
            for low in range(start, end, MOST_DROPPED):
                records.append(Record(Kind.DROPPED, low, min(MOST_DROPPED, end - low)))
            for segment in sorted({start >> self._disk.bits, end - 1 >> self._disk.bits}):
                first = segment << self._disk.bits
                for low, high in within(held, first, first + (1 << self._disk.bits)):
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
            for offset, end in self._disk.unreadable(places, self.head, self._floor):
                self._forget(offset, end)
            self.losses.unreadable += before - total(self._held)
            old = self._disk.remap()
        quiesce()
        old.close()

    def _passed_over(self, record: Record) -> bool:
        return record.offset < self._floor or record.offset >> self._disk.bits in self._disk.tail

    def _give_up(self) -> None:
        super()._give_up()
        self._generation += 1
        self._unverified.clear()
        self._left = 0
        self._journal_is_stale = True

    def _hash(self, data: bytes | memoryview) -> int:
        return xxhash.xxh3_64_intdigest(data, self.epoch)
