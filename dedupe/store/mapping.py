"""A ring file as memory to read from, such that a failing disk cannot kill the process.

Why mapped at all: the encoder compares at memory speed with any of many gigabytes, and the kernel's page cache is the
one cache that gives memory back when something else needs it. Why only for reading: a store into a mapped page may
wait for writeback, or die for want of space. Writers therefore fill plain memory (tail.py), which a background step
carries to the disk by pwrite, where an error is an error code. Reading can still fail (EIO, a file cut short): the
kernel then raises SIGBUS, and kernel/guard.c answers it with a page of zeros. Blocks made of such zeros do not pass
their check, so no wrong byte goes anywhere; `failed` tells the log what to forget.
"""

import errno
import mmap
import weakref
from typing import Any

from dedupe._kernel import ffi, lib


class Mapping:
    """`size` bytes of an open file, read-only, not in core dumps. OSError when it cannot be mapped."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        try:
            self._memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except ValueError as error:  # how mmap says that the file has been cut short
            raise OSError(errno.EIO, str(error)) from error
        self._memory.madvise(mmap.MADV_DONTDUMP)
        self.start: Any = ffi.from_buffer("uint8_t[]", self._memory)
        self._faults: Any = ffi.new("uint64_t[]", 1 + lib.BL_FAULTS)
        self._told = 0
        if lib.bl_guard_add(self.start, size, self._faults) != lib.BL_OK:
            raise OSError("too many cache files are open in one process")
        self._unguard = weakref.finalize(self, lib.bl_guard_remove, self.start)

    def failed(self) -> list[int] | None:
        """Positions of pages that failed since the last call, or None if there were too many to remember."""
        count = self._faults[0]
        fresh = range(self._told, count)
        self._told = count
        if len(fresh) > lib.BL_FAULTS:
            return None
        return [self._faults[1 + number % lib.BL_FAULTS] for number in fresh]

    def close(self) -> None:
        """Nobody may read from `start` any more."""
        if self.start is not None:
            self._unguard()
            ffi.release(self.start)
            self.start = None
            self._memory.close()
