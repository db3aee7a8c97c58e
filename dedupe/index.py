"""The memory of the anchor index; what it does is in kernel/index.h."""

from typing import Any

from dedupe._kernel import ffi
from dedupe.storage import populate, reserve

BUCKET = 64  # bytes
LEAST, LARGEST = 1 << 10, (1 << 32) - 1


class Index:
    """As many buckets as `budget` bytes hold (at least 64 KiB); nothing is touched until used."""

    def __init__(self, budget: int) -> None:
        buckets = min(max(budget // BUCKET, LEAST), LARGEST)
        self.size = BUCKET * buckets
        self._memory = reserve(self.size)
        entries = ffi.cast("uint64_t *", ffi.from_buffer(self._memory))
        self.kernel: Any = ffi.new("bl_index *", {"entry": entries, "buckets": buckets})

    def prepare(self) -> None:
        """Fault all of it in."""
        populate(self._memory, 0, self.size)
