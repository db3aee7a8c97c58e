"""Who gets how much of the box's index memory. Pure: it knows numbers and times, and no cache.

Sizes go in halves, so that a peer that comes or goes changes what one or two others have, not what all have.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dedupe.index import THIN

IDLE_S = 600.0  # without traffic; from then on a cache's memory is there for others
LEAST = 64 << 20  # bytes that even a box of small caches may use: their indexes are dense
OF_MACHINE = 4  # the part of the machine's memory that an index may be at most

Key = TypeVar("Key", bound=Hashable)


def usual_budget(logs: int, machine: int) -> int:
    """Bytes for all indexes of a box that may hold `logs` bytes of log and has `machine` bytes of memory."""
    return min(max(LEAST, logs // THIN), machine // OF_MACHINE)


@dataclass(slots=True)
class _Holder:
    wants: int
    has: int = 0
    used: float | None = None  # when it was used last


class IndexMemory(Generic[Key]):
    """Active caches share the budget; an idle one keeps what it has while nobody else needs it."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._holders: dict[Key, _Holder] = {}

    def add(self, key: Key, wants: int) -> None:
        """A cache that makes good use of `wants` bytes. It gets none before it is used."""
        self._holders[key] = _Holder(wants)

    def remove(self, key: Key) -> None:
        del self._holders[key]

    def use(self, key: Key, now: float) -> bool:
        """There is traffic. True if the cache has no memory, so that `plan` should be asked soon."""
        holder = self._holders[key]
        holder.used = now
        return holder.has == 0

    def has(self, key: Key) -> int:
        """Bytes, as planned last."""
        return self._holders[key].has

    @property
    def granted(self) -> int:
        """Bytes in all."""
        return sum(holder.has for holder in self._holders.values())

    def plan(self, now: float) -> list[tuple[Key, int]]:
        """What changes: (cache, bytes), those that give before those that get."""
        active = {
            key: holder
            for key, holder in self._holders.items()
            if holder.used is not None and now - holder.used < IDLE_S
        }
        shares = _halved({key: min(holder.wants, self.budget) for key, holder in active.items()}, self.budget)
        free = self.budget - sum(shares.values())
        idle = [key for key in self._holders if key not in active and self._holders[key].has]
        for key in sorted(idle, key=lambda key: -(self._holders[key].used or 0.0)):
            kept = self._holders[key].has if self._holders[key].has <= free else 0
            shares[key] = kept
            free -= kept
        changes = [(key, size) for key, size in shares.items() if size != self._holders[key].has]
        changes.sort(key=lambda change: change[1] > self._holders[change[0]].has)
        for key, size in changes:
            self._holders[key].has = size
        return changes


def _halved(wanted: dict[Key, int], budget: int) -> dict[Key, int]:
    """The largest is halved until all fit; of equals, the one that was added last."""
    shares, total = dict(wanted), sum(wanted.values())
    order = {key: place for place, key in enumerate(shares)}
    while total > budget:
        largest = max(shares, key=lambda key: (shares[key], order[key]))
        total -= shares[largest] - shares[largest] // 2
        shares[largest] //= 2
    return shares
