"""Plain memory for the segments of a log that are being written or are not on the disk yet."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dedupe._kernel import ffi
from dedupe.storage import populate, reserve

KEPT = 16 << 20  # bytes of free memory that stay with the process


@dataclass(eq=False, slots=True)
class Fresh:
    """One segment in memory. saved: offsets below it are on the disk. place: its part of the arena."""

    segment: int
    place: int
    saved: int


class Tail:
    """At most `most` segments of 2^bits bytes, oldest first. Not thread-safe: its log locks."""

    def __init__(self, bits: int, most: int) -> None:
        self.bits = bits
        self._memory = reserve(most << bits)
        self._start: Any = ffi.cast("uint8_t *", ffi.from_buffer(self._memory))
        self._free = list(reversed(range(most)))
        self._untouched = set(self._free)
        self._fresh: dict[int, Fresh] = {}

    def __contains__(self, segment: int) -> bool:
        return segment in self._fresh

    def __iter__(self) -> Iterator[Fresh]:
        return iter(list(self._fresh.values()))

    def __len__(self) -> int:
        return len(self._fresh)

    @property
    def full(self) -> bool:
        return not self._free

    def oldest(self) -> Fresh:
        return next(iter(self._fresh.values()))

    def add(self, segment: int) -> Fresh:
        """Not when full."""
        place = self._free.pop()
        self._untouched.discard(place)
        fresh = self._fresh[segment] = Fresh(segment, place, segment << self.bits)
        return fresh

    def holds(self, fresh: Fresh) -> bool:
        """Whether it is still what it was when somebody looked last."""
        return self._fresh.get(fresh.segment) is fresh

    def remove(self, fresh: Fresh) -> None:
        """It is no longer in the table; its memory is still read until release."""
        del self._fresh[fresh.segment]

    def release(self, place: int) -> None:
        """Nobody reads it any more."""
        kept = len(self._free) - len(self._untouched)
        if kept << self.bits >= KEPT:
            self._memory.madvise(mmap.MADV_DONTNEED, place << self.bits, 1 << self.bits)
            self._untouched.add(place)
            self._free.insert(0, place)
        else:
            self._free.append(place)

    def memory(self, place: int) -> Any:
        """The kernel's pointer to it."""
        return self._start + (place << self.bits)

    def prepare(self, length: int) -> None:
        """Fault in what the next `length` bytes will use. Safe beside everything else: contents do not change."""
        count = length + (1 << self.bits) - 1 >> self.bits
        for place in list(self._free)[-count:]:
            self._untouched.discard(place)
            populate(self._memory, place << self.bits, 1 << self.bits)
