"""The memory of the anchor index; what it does is in kernel/index.h."""

from typing import Any

from dedupe._kernel import ffi
from dedupe.storage import populate, reserve

BUCKET = 64  # bytes


class Index:
    """A power of two of buckets, at most `budget` bytes (at least 64 KiB); nothing is touched until used."""

    def __init__(self, budget: int) -> None:
        bits = max(10, (budget // BUCKET).bit_length() - 1)
        self.size = BUCKET << bits
        self._memory = reserve(self.size)
        entries = ffi.cast("uint64_t *", ffi.from_buffer(self._memory))
        self.kernel: Any = ffi.new("bl_index *", {"entry": entries, "bucket_bits": bits})

    def prepare(self) -> None:
        """Fault all of it in."""
        populate(self._memory, 0, self.size)
