"""Where a log's bytes live: a ring of segments, which the kernel sees as a table of addresses."""

import ctypes
import errno
import mmap
import os
from typing import Any

from dedupe._kernel import ffi

LARGEST_SEGMENT = 22  # 4 MiB
SMALLEST_SEGMENT = 12
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE
_POPULATE_STEP = 1 << 22
_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]


def machine_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def reserve(size: int) -> mmap.mmap:
    """Zeroed anonymous memory that costs nothing until it is touched and never enters a core dump."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= 1 << 22:  # below that, whole huge pages would cost more than they save
        memory.madvise(mmap.MADV_HUGEPAGE)
    memory.madvise(mmap.MADV_DONTDUMP)
    return memory


def populate(memory: mmap.mmap, start: int, length: int) -> None:
    """Fault pages in ahead of use, contents unchanged; a kernel older than 5.14 leaves it to first use."""
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))
    # In steps: who wants to map memory waits for the call, and everybody's page faults wait behind that.
    for first in range(start & -mmap.PAGESIZE, start + length, _POPULATE_STEP):
        # Through ctypes, which releases the GIL: mmap.madvise would hold it.
        if _madvise(address + first, min(_POPULATE_STEP, start + length - first), _POPULATE_WRITE):
            number = ctypes.get_errno()
            if number == errno.EINVAL:
                return
            raise OSError(number, os.strerror(number))


class MemoryRing:
    """At least `capacity` bytes of ring in segments of one size. `.kernel` is the bl_log for the C side.

    A ring on disk differs in where its segments come from, and in nothing that a reader of `.kernel` sees.
    """

    def __init__(self, capacity: int) -> None:
        bits = SMALLEST_SEGMENT
        while bits < LARGEST_SEGMENT and capacity >> bits > 16:
            bits += 1
        count = -(-capacity // (1 << bits))
        self.size = count << bits
        self._memory = reserve(self.size)
        base = ffi.cast("uint8_t *", ffi.from_buffer(self._memory))
        self._table = ffi.new("uint8_t *[]", [base + (i << bits) for i in range(count)])
        self.kernel: Any = ffi.new(
            "bl_log *", {"segment": self._table, "segment_bits": bits, "segments": count}
        )

    def prepare(self, offset: int, length: int) -> None:
        """Fault in what the log's next `length` bytes from `offset` on will use."""
        start, length = offset % self.size, min(length, self.size)
        populate(self._memory, start, min(length, self.size - start))
        if start + length > self.size:
            populate(self._memory, 0, start + length - self.size)
