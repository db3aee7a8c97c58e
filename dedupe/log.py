"""One log of a peer pair: a ring of bytes with 64-bit offsets that are never reused."""

from dedupe.offer import Agreement, LogState
from dedupe.ranges import Ranges, above, add, drop
from dedupe.storage import MemoryRing


class Log:
    """The ring, its name (epoch) and which of its offsets hold bytes that both sides have.

    One thread writes (append, forget, agree); another may read `valid`, `head` and the bytes, if it looks at
    `overwritten` afterwards: bytes below it may have changed under its eyes.
    """

    def __init__(self, epoch: int, span: int, gap: int) -> None:
        self.epoch = epoch
        self.head = 0
        self.span = span  # S: what an encoder may reference
        self.gap = gap  # G: how far a writer may run past the reader's last acknowledgement
        self.valid: Ranges = ()
        self.overwritten = 0
        self._own_span, self._own_gap = span, gap
        self.ring = MemoryRing(span + gap)

    def state(self) -> LogState:
        return LogState(self.epoch, self.head, self._own_span, self._own_gap, self.valid)

    def agree(self, agreement: Agreement) -> None:
        """Take over what both sides found they have in common."""
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
