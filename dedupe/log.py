"""One log of a peer pair: a ring of bytes with 64-bit offsets that are never reused."""

from typing import Any, Protocol

from dedupe.offer import LARGEST_OFFSET, Agreement, LogState
from dedupe.ranges import Ranges, above, add, drop
from dedupe.storage import MemoryRing


class Ring(Protocol):
    """Where a log's bytes live. size: bytes. kernel: the bl_log for the C side."""

    size: int
    kernel: Any

    def prepare(self, offset: int, length: int) -> None: ...


class Log:
    """The ring, its name (epoch) and which of its offsets hold bytes that both sides have.

    One thread writes (append, forget, agree); another may read `valid`, `head` and the bytes, if it looks at
    `overwritten` afterwards: bytes below it may have changed under its eyes, and any that are not on a disk when
    `disturbed` has grown.
    """

    def __init__(self, epoch: int, span: int, gap: int, ring: Ring | None = None) -> None:
        self.epoch = epoch
        self.head = 0
        self.span = span  # S: what an encoder may reference
        self.gap = gap  # G: how far a writer may run past the reader's last acknowledgement
        self.valid: Ranges = ()
        self.overwritten = 0
        self.disturbed = 0
        self.leased = LARGEST_OFFSET  # a writer uses offsets below this one only,
        self.leasing = True  # and may wait for more of them
        self._own_span, self._own_gap = span, gap
        self.ring: Ring = MemoryRing(span + gap) if ring is None else ring

    @property
    def held(self) -> Ranges:
        """What this side has, agreed on or not; what a block may refer to that comes in."""
        return self.valid

    @property
    def verified_from(self) -> int:
        """What is held below this offset will be read back anyway, to be verified."""
        return 0

    def state(self) -> LogState:
        return LogState(self.epoch, self.head, self._own_span, self._own_gap, self.valid)

    def agree(self, agreement: Agreement) -> None:
        """Take over what both sides found they have in common."""
        if agreement.epoch != self.epoch or agreement.head < self.head:
            self.overwritten = 0
        self.epoch, self.head = agreement.epoch, agreement.head
        self.span, self.gap = agreement.span, agreement.gap
        self.valid = above(agreement.valid, self.head - self.ring.size)

    def begin(self, start: int, end: int) -> None:
        """[start, end) is about to be written; start must not lie below the head."""
        self.valid = above(self.valid, end - self.ring.size)
        self.overwritten = max(self.overwritten, end - self.ring.size)
        self.head = start

    def finish(self, start: int, end: int) -> None:
        """[start, end) has been written."""
        self.valid = add(self.valid, start, end)
        self.head = end

    def forget(self, start: int, end: int) -> None:
        """Make [start, end) a hole."""
        self.valid = drop(self.valid, start, end)

    def unshare(self, start: int, end: int) -> None:
        """The other side could not read [start, end): do not refer to it again.

        Nothing happens here: what is in memory on both sides does not go away.
        """
