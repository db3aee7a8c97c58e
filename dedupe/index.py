"""The memory of the anchor index; what it does is in kernel/index.h."""

from typing import Any

from dedupe._kernel import ffi, lib
from dedupe.storage import populate, reserve

BUCKET = 64  # bytes
LEAST, LARGEST = 1 << 10, (1 << 32) - 1
DENSE, DENSE_UP_TO = 8, 1 << 27  # a byte of index to so many of each log's capacity holds nearly all anchors
THIN = 225  # a byte of index to so many of log, at most, in larger ones: with a log's ledger 5 MB per GB


def usual_index(capacity: int) -> int:
    """Bytes of index that a cache of two such logs makes good use of."""
    return max(min(capacity // DENSE, DENSE_UP_TO), 2 * capacity // THIN)


class Index:
    """As many buckets as `budget` bytes hold (at least 64 KiB); nothing is touched until used."""

    def __init__(self, budget: int) -> None:
        buckets = min(max(budget // BUCKET, LEAST), LARGEST)
        self.size = BUCKET * buckets
        self._memory = reserve(self.size)
        entries = ffi.cast("uint64_t *", ffi.from_buffer(self._memory))
        self.kernel: Any = ffi.new("bl_index *", {"entry": entries, "buckets": buckets})

    def take(self, other: "Index") -> None:
        """What another one has, as far as there is room; either may be in use. About a second for a gigabyte."""
        lib.bl_index_take(self.kernel, other.kernel)

    def prepare(self) -> None:
        """Fault all of it in."""
        populate(self._memory, 0, self.size)
