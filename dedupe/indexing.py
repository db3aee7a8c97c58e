"""How a cache's index comes by its memory, and by what it knows after a start or a change of its size."""

from collections.abc import Callable

from dedupe._kernel import ffi, lib
from dedupe.index import Index
from dedupe.log import Log
from dedupe.ranges import within
from dedupe.reading import Reading
from dedupe.store.ledger import Role

TAKEN = 4  # an index so many times larger is filled from the logs, not from the one before


class Indexing:
    """The index in use, perhaps one that is to take its place, and what of the logs is still to be read for them.

    Everything but `index` and `left` belongs to one background thread.
    """

    def __init__(self, logs: tuple[Log, Log], size: int, use: Callable[[Index], None]) -> None:
        """logs: the written one, and the copy of the peer's; may be set anew. use: puts an index into use."""
        self.logs = logs
        self.index = Index(size)
        self._use = use
        self._resting = size == 0
        self._next: Index | None = None
        self._heads = (0, 0)  # of the logs; what is beyond is not in the one in `_next`
        self._again = Reading()

    @property
    def resting(self) -> bool:
        """There is no memory to put anything into."""
        return self._resting

    @property
    def left(self) -> int:
        """Bytes that were in an index before and are to be read once more."""
        return self._again.left

    def resize(self, size: int, *, faulted: bool) -> None:
        """An index of that many bytes instead; see Cache.resize.

        One so much larger that it must be filled from the logs takes its place when it has read what is known now.
        """
        before, fresh = self.index, Index(size)
        self._heads = self.logs[0].head, self.logs[1].head
        whole = self._resting or fresh.size > TAKEN * before.size
        if size and faulted:
            fresh.prepare()
        if size and not whole:
            fresh.take(before)
        later = whole and size > 0 and not self._resting
        self._next = fresh if later else None
        self._resting = size == 0
        if not later:
            self._put_into_use(fresh)
        for role, log, head in zip(Role, self.logs, self._heads, strict=True):
            if whole:
                self._again.want(role, within(log.held, log.verified_from, head))
            if not later:  # what came meanwhile went into the old one
                self._again.add(role, within(log.held, head, log.head))

    def read_back(self, budget: int) -> bool:
        """Read about `budget` bytes that were in an index before. True if there were any."""
        part = self._again.next(budget)
        if part is None and self._next is not None:
            self._put_into_use(self._next)
            self._next = None
            for role, log, head in zip(Role, self.logs, self._heads, strict=True):
                self._again.add(role, within(log.held, head, log.head))
            part = self._again.next(budget)
        if part is None:
            return False
        number, start, end = part
        log = self.logs[number]
        for low, high in within(log.held, start, end):
            raw = ffi.new("uint8_t[]", high - low)
            # If it is written over meanwhile: only hints.
            lib.bl_log_read(log.ring.kernel, low, raw, high - low)
            lib.bl_index_range((self._next or self.index).kernel, number, low, raw, high - low)
        return True

    def learn(self, role: Role, offset: int, data: bytes) -> None:
        """These are a log's bytes; resize has them read once more if there is no memory now."""
        if not self._resting:
            raw = ffi.from_buffer("uint8_t[]", data)
            lib.bl_index_range(self.index.kernel, role, offset, raw, len(data))

    def _put_into_use(self, index: Index) -> None:
        self._use(index)
        self.index = index
