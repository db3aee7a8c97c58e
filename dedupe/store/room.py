"""What caches take on a disk, and which of them give way."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dedupe.store.inspect import places
from dedupe.store.ring import Shape
from dedupe.store.store import JOURNALS, RINGS


@dataclass(frozen=True, slots=True)
class Stored:
    """A cache's directory, whose it is, bytes that its rings take, and when (seconds since 1970) it was used last."""

    path: Path
    peer: str
    domain: int
    size: int
    used: float


def disk_size(capacity: int, gap: int) -> int:
    """Bytes of disk that a cache of this size takes, all of them from its first opening on; journals besides."""
    return 2 * Shape.of(capacity, gap).size


def stored(directory: Path) -> list[Stored]:
    """All caches under `directory`, whoever uses them. OSError."""
    found = []
    for path in places(directory, None):
        files = [path / name for name in (*RINGS.values(), *JOURNALS.values())]
        status = [file.stat() for file in files if file.exists()]
        domain = path.name.rpartition("-")[2]
        found.append(
            Stored(
                path,
                path.parent.name,
                int(domain) if domain.isdecimal() else -1,
                sum(one.st_size for one in status),
                max((one.st_mtime for one in status), default=0.0),
            )
        )
    return found


def too_many(caches: Iterable[Stored], room: int) -> list[Stored]:
    """Those that must go for the others to fit into `room` bytes: the longest unused first."""
    waiting = sorted(caches, key=lambda cache: cache.used)
    total = sum(cache.size for cache in waiting)
    going = []
    for cache in waiting:
        if total <= room:
            break
        going.append(cache)
        total -= cache.size
    return going
