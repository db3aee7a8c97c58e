"""A ring of segments in a file: written in memory, carried to the disk later, read through a mapping."""

import mmap
from dataclasses import dataclass
from typing import Any

from dedupe._kernel import ffi, lib
from dedupe.ranges import Ranges, within
from dedupe.store.files import File
from dedupe.store.mapping import Mapping
from dedupe.store.tail import Fresh, Tail

LARGEST_SEGMENT = 20  # 1 MiB
SMALLEST_SEGMENT = 12
MOST_TAIL = 1 << 27


@dataclass(frozen=True, slots=True)
class Shape:
    """How a ring is divided: slots of 2^bits bytes, and how many of them may be in memory only."""

    bits: int
    slots: int
    tail: int

    @classmethod
    def of(cls, capacity: int, gap: int) -> "Shape":
        """Two slots more than S + G: the one being written has lost all that it held before, not a part."""
        bits = SMALLEST_SEGMENT
        while bits < LARGEST_SEGMENT and capacity >> bits > 16:
            bits += 1
        slots = -(-(capacity + gap) // (1 << bits)) + 2
        tail = min((gap + min(capacity // 4, MOST_TAIL) >> bits) + 4, slots)
        return cls(bits, slots, tail)

    @property
    def size(self) -> int:
        return self.slots << self.bits


class DiskRing:
    """`.kernel` is the bl_log for the C side. Not thread-safe: its log locks; readers in C need no lock.

    A segment's memory may only be used again when every read that began before has ended: `retire` takes a segment
    out of the kernel's table, `tail.release` follows when that is so.
    """

    def __init__(self, file: File, shape: Shape) -> None:
        self.shape, self.bits, self.size = shape, shape.bits, shape.size
        self.file = file
        self.tail = Tail(shape.bits, shape.tail)
        self.mapping = Mapping(file.descriptor, self.size)
        self._table = ffi.new("uint8_t *[]", [self._mapped(slot) for slot in range(shape.slots)])
        self.kernel: Any = ffi.new(
            "bl_log *", {"segment": self._table, "segment_bits": shape.bits, "segments": shape.slots}
        )

    def floor(self, end: int) -> int:
        """The lowest offset still there when the log has been written up to `end`."""
        return (-(-end >> self.bits) << self.bits) - self.size

    def unopened(self, start: int, end: int) -> list[tuple[int, int]]:
        """The segments of [start, end) that are not in memory."""
        segments = range(start >> self.bits, (end - 1 >> self.bits) + 1)
        return [(n << self.bits, n + 1 << self.bits) for n in segments if n not in self.tail]

    def open_segments(self, start: int, end: int, held: Ranges) -> list[tuple[int, int, bool]]:
        """Gets [start, end) ready to be written, at most a ring less a segment of it.

        What is held of a segment that is only on the disk is fetched. Returns the segments that had to give way, and
        whether all of them was on the disk.
        """
        gone = []
        for first, last in self.unopened(start, end):
            if self.tail.full:
                victim = self.tail.oldest()
                self.retire(victim)
                self.tail.release(victim.place)
                low, high = victim.segment << self.bits, victim.segment + 1 << self.bits
                gone.append((low, high, victim.saved == high))
            fresh = self.tail.add(first >> self.bits)
            memory = self.tail.memory(fresh.place)
            for low, high in within(held, first, last):
                # Not ffi.memmove: it would hold the GIL for as long as the disk takes.
                lib.bl_log_read(self.kernel, low, memory + (low - first), high - low)
                fresh.saved = high
            self._table[fresh.segment % self.shape.slots] = memory
        return gone

    def retire(self, fresh: Fresh) -> None:
        """Reads of the segment go to the disk from now on."""
        slot = fresh.segment % self.shape.slots
        if self._table[slot] == self.tail.memory(fresh.place):
            self._table[slot] = self._mapped(slot)
        self.tail.remove(fresh)

    def at(self, offset: int) -> int:
        """The place in the file."""
        return offset % self.size

    def memory(self, fresh: Fresh, start: int, end: int) -> memoryview:
        """[start, end) of a segment in memory."""
        first = self.tail.memory(fresh.place) + (start - (fresh.segment << self.bits))
        return memoryview(ffi.buffer(first, end - start))

    def unreadable(self, places: list[int] | None, head: int, floor: int) -> list[tuple[int, int]]:
        """The ranges of offsets at these places of the file; None: all above the floor that is not in memory."""
        top = -(-head >> self.bits) << self.bits
        if places is None:
            lowest = min((fresh.segment << self.bits for fresh in self.tail), default=top)
            return [(max(0, floor), lowest)] if lowest > max(0, floor) else []
        found = []
        for place in places:
            offset = top - 1 - (top - 1 - place) % self.size
            if offset >> self.bits in self.tail:  # what failed is what was there before
                offset -= self.size
            if offset >= 0:
                found.append((offset, offset + mmap.PAGESIZE))
        return found

    def remap(self) -> Mapping:
        """Look at the file again after pages of it failed. The old mapping is to be closed when nobody reads it."""
        old, self.mapping = self.mapping, Mapping(self.file.descriptor, self.size)
        for slot in range(self.shape.slots):
            if self._table[slot] == old.start + (slot << self.bits):
                self._table[slot] = self._mapped(slot)
        return old

    def prepare(self, _offset: int, length: int) -> None:
        self.tail.prepare(length)

    def close(self) -> None:
        """Nobody may read from it any more."""
        self.mapping.close()
        self.file.close()

    def _mapped(self, slot: int) -> Any:
        return self.mapping.start + (slot << self.bits)
