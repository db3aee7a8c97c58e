"""Opens a cache that outlives the process."""

import time
from collections.abc import Callable
from pathlib import Path

from dedupe.cache import Cache, check_sizes, usual_gap
from dedupe.store import room
from dedupe.store.files import Files
from dedupe.store.store import Owner, Store

READY_S = 1.0


def disk_size(capacity: int) -> int:
    """Bytes of disk that open_cache takes for such a cache."""
    return room.disk_size(capacity, usual_gap(capacity))


def open_cache(
    directory: Path,
    *,
    box: str,
    peer: str,
    capacity: int,
    gap: int | None = None,
    index: int | None = None,
    channel: int = 0,
    domain: int = 0,
    files: Files | None = None,
    ready_s: float = READY_S,
    clock: Callable[[], float] = time.monotonic,
) -> Cache:
    """The cache of (box, peer, channel, domain) under `directory`, made if it is not there.

    It takes disk_size(capacity) bytes at once. What is there may be referred to at once; up to about ready_s seconds
    are spent on verifying the newest of it and indexing it, sync does the rest. Raises CacheInUse when
    another process has it open, StoreError when the disk is full or not fit (`Cache(capacity=...)` then does the same
    in memory), ValueError for a wrong size or name. Its `findings` say what was found; `close` it in the end.
    """
    gap = usual_gap(capacity) if gap is None else gap
    check_sizes(capacity, gap)
    owner = Owner(box, peer, channel, domain)
    store = Store(owner.directory(directory), owner, capacity=capacity, gap=gap, files=files)
    cache = Cache(capacity=capacity, gap=gap, index=index, store=store)
    cache.recover(ready_s, clock)
    return cache
