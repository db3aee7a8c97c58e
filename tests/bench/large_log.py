"""A large log of two boxes, made in a minute: through the store's own writer, on sparse files.

Most of a log is zeros, which take no disk; its newest part and some older stretches are pseudo-random content, a
function of the place. Journals, checksums, leases and identities are those of any cache.
"""

import os
from collections.abc import Callable
from pathlib import Path

from dedupe._kernel import ffi

import dedupe
from dedupe.log import Log
from dedupe.store.files import File, Files
from tests.bench.index import BLOCK, content

STEP = 8 << 20  # bytes between two rounds of saving: what the store keeps of free memory
_ZEROS = bytes(1 << 20)


class SparseFile(File):
    """Takes no room for zeros, and leaves it to the kernel when the rest goes to the disk."""

    def allocate(self, size: int) -> None:
        os.ftruncate(self.descriptor, size)

    def write(self, at: int, data: bytes | memoryview) -> None:
        if bytes(data) != _ZEROS[: len(data)]:  # a view would be compared item by item
            super().write(at, data)

    def sync(self) -> None:
        pass


class SparseFiles(Files):
    def open(self, path: Path) -> File:
        return SparseFile(super().open(path).descriptor)


def make(
    places: tuple[tuple[Path, str], tuple[Path, str]],
    size: int,
    real: Callable[[int], bool],
    progress: Callable[[str], None],
) -> None:
    """Fills the log that the second box writes. places: the cache directory and the box's id, of two boxes.

    size: bytes of each log. real(block): whether block n (256 KiB) has content.
    """
    (_, first), (_, second) = places
    names = ((first, second), (second, first))
    caches = [
        dedupe.open_cache(directory, box=box, peer=peer, capacity=size, index=0, files=SparseFiles())
        for (directory, _), (box, peer) in zip(places, names, strict=True)
    ]
    offers = [cache.offer() for cache in caches]
    caches[0].accept(offers[1])
    caches[1].accept(offers[0])
    for start in range(0, size, STEP):
        end = min(start + STEP, size)
        for block in range(start // BLOCK, -(-end // BLOCK)):
            low, high = block * BLOCK, min((block + 1) * BLOCK, end)
            raw = content(block) if real(block) else _ZEROS
            _put(caches[1]._mine, low, high, raw)
            _put(caches[0]._theirs, low, high, raw)
        for cache in caches:
            while cache.sync(2 * STEP):
                pass
        if start % (STEP << 9) == 0:
            progress(f"{start / 1e9:.0f} GB of each log written")
    for cache in caches:
        cache.close()


def _put(log: Log, start: int, end: int, raw: bytes) -> None:
    log.begin(start, end)
    memory, bits = log.ring.kernel, log.ring.kernel.segment_bits
    ring = memory.segments << bits
    at = start % ring
    ffi.memmove(memory.segment[at >> bits] + (at & (1 << bits) - 1), raw, end - start)
    log.finish(start, end)
