"""How many bytes the codec would put on the WAN: the real one, with a cache in memory and no peer."""

from __future__ import annotations

import dedupe
from dedupe import Effort

LEAST_CACHE = 16 << 20  # bytes


class Savings:
    """One encoder for both directions, as a box may refer to what it has sent and to what it has received.

    The cache begins empty and holds `capacity` bytes; memory is taken as it fills, about 1.15 times that in all.
    """

    def __init__(self, capacity: int) -> None:
        self._cache = dedupe.Cache(capacity=max(capacity, LEAST_CACHE))
        self._cache.accept(dedupe.Cache(capacity=max(capacity, LEAST_CACHE)).offer())

    def encoded(self, raw: bytes | bytearray, window: dedupe.EncodeWindow) -> int:
        """The size that up to 4 MiB of a flow's direction would have; `window` is that direction's own."""
        block = self._cache.encode(raw, effort=Effort.DEFAULT, window=window)
        self._cache.acknowledge(block)
        return len(block.wire)
