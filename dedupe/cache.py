"""The chunk cache of one peer and one domain: two logs, one index, an encoder and a decoder."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from dedupe import offer as offers
from dedupe.block import Block, Buffer
from dedupe.decoder import Decoder
from dedupe.encoder import Encoder
from dedupe.errors import OfferError
from dedupe.index import Index, usual_index
from dedupe.indexing import Indexing
from dedupe.literals import Effort
from dedupe.log import Log
from dedupe.offer import Offer, agree, pack, parse
from dedupe.ranges import total
from dedupe.store.finding import Finding
from dedupe.store.store import Store
from dedupe.window import DecodeWindow, EncodeWindow

LEAST_CAPACITY = 4096
LARGEST_CAPACITY = 1 << 39
SYNC_STEP = 1 << 23
RECOVERY_STEP = 1 << 21  # short, so that a disk that hangs is told from one that is read much


def usual_gap(capacity: int) -> int:
    """G where the caller does not choose."""
    return min(max(capacity // 8, 1 << 20), 1 << 26)


def check_sizes(capacity: int, gap: int) -> None:
    """ValueError for what cannot be a cache."""
    if not LEAST_CAPACITY <= capacity <= LARGEST_CAPACITY:
        raise ValueError(f"capacity {capacity}: must be {LEAST_CAPACITY} to {LARGEST_CAPACITY} bytes")
    if gap <= 0:
        raise ValueError(f"gap {gap}: must be positive")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counters since start (bytes and blocks) and what the cache holds now (bytes)."""

    encoded_blocks: int
    encoded_raw: int
    encoded_wire: int
    encoded_copied: int
    encoded_literal: int
    encoded_logged: int
    rejected_blocks: int
    decoded_blocks: int
    decoded_raw: int
    decoded_wire: int
    decoded_copied: int
    decoded_literal: int
    decoded_logged: int
    bad_blocks: int
    written_log: int
    received_log: int
    log_capacity: int
    index: int


class Cache:
    """All chunk-cache state of one peer and one domain: the log we write and our copy of the log the peer writes.

    capacity: bytes of each log that may be referenced (S), at least 4 KiB. gap: how many logged bytes may be on
    their way unacknowledged (G). index: memory for the anchor index; see resize. Memory is reserved, not used, until
    traffic comes. encode and decode may run at the same time in two threads, one call of each; room, acknowledge and
    reject may be called from any thread at any time; offer and accept while neither runs.
    """

    def __init__(
        self, *, capacity: int, gap: int | None = None, index: int | None = None, store: Store | None = None
    ) -> None:
        gap = usual_gap(capacity) if gap is None else gap
        check_sizes(capacity, gap)
        if index is None:
            index = usual_index(capacity)
        self._store = store
        if store is None:
            self._mine, self._theirs = Log(offers.memory_epoch(), capacity, gap), Log(0, capacity, gap)
        else:
            self._mine, self._theirs = store.written, store.received
        self._kept = self._theirs
        self._indexing = Indexing((self._mine, self._theirs), index, self._use)
        self._encoder = Encoder(self._mine, self._theirs, self._indexing.index)
        self._decoder = Decoder(self._theirs, self._mine, self._indexing.index)
        self._encoding, self._decoding = threading.Lock(), threading.Lock()
        self._ready = False

    def offer(self) -> bytes:
        """What we hold, for HELLO: at most 8 KiB, opaque to the caller."""
        with self._encoding, self._decoding:
            return pack(Offer(self._mine.state(), self._kept.state()))

    def accept(self, offer: bytes) -> None:
        """The peer's offer, when a session begins (never on a mere resume). Both sides must do it.

        Blocks of earlier sessions are void: their acknowledgements and rejections are ignored, and what
        was not acknowledged must be encoded again. Raises OfferError; then nothing has changed.
        """
        theirs = parse(offer)
        with self._encoding, self._decoding:
            written = agree(self._mine.state(), theirs.reads)
            copy = self._kept
            received = agree(theirs.writes, copy.state())
            if written.epoch == received.epoch:
                raise OfferError("the peer offers our own log: is it talking to itself?")
            if self._store is not None and offers.in_memory(theirs.writes):
                # It will not be there again after the peer's restart: what we keep on disk must not go for it.
                if received.span > offers.IN_MEMORY:
                    raise OfferError(
                        f"a log in memory with {received.span} bytes, more than {offers.IN_MEMORY}"
                    )
                copy = Log(0, received.span, received.gap)
            self._mine.agree(written)
            copy.agree(received)
            if copy is not self._theirs:
                self._theirs = copy
                self._indexing.logs = (self._mine, copy)
                self._encoder.copy_to(copy)
                self._decoder.copy_to(copy)
            self._encoder.begin()
            self._decoder.begin()
            self._ready = True

    def prepare(self, length: int) -> None:
        """Make memory ready for the next `length` bytes of both logs, and the index.

        First use of a page costs several times what writing it does: call this from a thread with time to spare.
        Any thread, any time.
        """
        self._indexing.index.prepare()
        for log in (self._mine, self._theirs):
            log.ring.prepare(log.head, length)

    def room(self) -> int:
        """Bytes that may be encoded now without running more than G past the last acknowledgement.

        More may be encoded; it is then sent but not stored. A disk that answers is waited for as well; while it does
        not, there is room, and nothing is stored once the lease is used up.
        """
        return self._encoder.room()

    def encode(
        self,
        raw: Buffer,
        *,
        effort: Effort,
        window: EncodeWindow | None = None,
        store: bool = True,
        literal: bool = False,
    ) -> Block:
        """Encode up to 4 MiB (64 to 256 KiB is best). Blocks must be sent in the order they were made.

        store: False keeps the bytes out of the log. literal: no COPY (for resending a rejected block).
        Raises RuntimeError before the first accept, ValueError when raw is too long.
        """
        with self._encoding:
            self._check_ready()
            return self._encoder.encode(raw, effort, window, store, literal)

    def acknowledge(self, block: Block) -> None:
        """The peer has decoded and verified the block. Call it in the order of encoding."""
        self._encoder.acknowledge(block)

    def reject(self, block: Block) -> None:
        """The peer could not decode the block: its log range becomes a hole. Send it again with literal=True."""
        self._encoder.reject(block)

    def rest(self) -> None:
        """Give back the memory that only flows need; to be called when none has been open for a while."""
        with self._encoding:
            self._encoder.rest()

    def decode(self, wire: Buffer, *, window: DecodeWindow | None = None, limit: int) -> bytes:
        """The original bytes, verified, at most `limit`. Blocks must come in the order they were sent.

        Raises BadBlock; then nothing of the block is kept, and the sender must be told (its reject).
        """
        with self._decoding:
            self._check_ready()
            return self._decoder.decode(wire, window, limit)

    # What belongs to one background thread.

    @property
    def wants_sync(self) -> bool:
        """sync should be called soon: what is not saved in time is not kept. Any thread, any time; cheap."""
        return self._store is not None and self._store.wants_sync

    def sync(self, budget: int = SYNC_STEP) -> bool:
        """One step of background work: save what is new, read back for the index what is old.

        budget: bytes of each. True if more is waiting. It may wait for the disk, never for longer than a block for
        traffic, and traffic never for it. Call it about once a second, and again while it says True or wants_sync.
        """
        more = self._store is not None and self._store.sync(budget, self._quiesce)
        return (not self._indexing.resting and self._read_back(min(budget, RECOVERY_STEP))) or more

    def resize(self, index: int, *, faulted: bool = True) -> None:
        """Bytes of memory for the anchor index from now on; traffic does not wait for more than a block.

        faulted: fault it in first, which takes a second or so for a gigabyte; else the first use of each page does.

        A smaller index keeps the anchors with the best claim, a larger one has room for those to come. 0 gives all of
        it back; the next call with more has sync read the logs once more, the newest bytes first. One that is far
        larger is used when sync has filled it; for so long, the index takes the memory of both sizes.
        """
        self._indexing.resize(index, faulted=faulted)

    def _use(self, index: Index) -> None:
        with self._encoding, self._decoding:
            self._encoder.use(index)
            self._decoder.use(index)

    def set_aside(self) -> None:
        """The disk does not answer: go on with what is in memory. Any thread; blocks that are being coded end first."""
        if self._store is not None:
            self._store.set_aside()

    def bring_back(self) -> None:
        """The disk answers again. Any thread."""
        if self._store is not None:
            self._store.bring_back()

    def close(self) -> None:
        """Save everything and let go of the directory. No call but findings and stats may follow."""
        self.rest()
        with self._encoding, self._decoding:
            self._ready = False
            if self._store is not None:
                self._store.close(lambda: None)

    @property
    def unread(self) -> int:
        """Bytes of both logs that are still to be read back for the index. Any thread."""
        return self._indexing.left + (0 if self._store is None else self._store.unverified)

    def findings(self) -> list[Finding]:
        """What has happened to the cache since the last call that a person should hear of."""
        return [] if self._store is None else self._store.findings()

    def recover(self, seconds: float, clock: Callable[[], float]) -> bool:
        """Read back what an earlier process left, newest first, for about so long. True if there is more."""
        end = clock() + seconds
        while not self._indexing.resting:
            if clock() >= end:
                return True
            if not self._read_back(RECOVERY_STEP):
                break
        return False

    def _read_back(self, budget: int) -> bool:
        """About `budget` bytes. True if there is more."""
        if self._indexing.read_back(budget):
            return True
        return self._store is not None and self._store.verify(budget, self._indexing.learn)

    def _quiesce(self) -> None:
        with self._encoding:
            pass
        with self._decoding:
            pass

    def stats(self) -> CacheStats:
        encoder, decoder = self._encoder, self._decoder
        return CacheStats(
            encoded_blocks=encoder.blocks,
            encoded_raw=encoder.raw,
            encoded_wire=encoder.wire,
            encoded_copied=encoder.copied,
            encoded_literal=encoder.literal,
            encoded_logged=encoder.logged,
            rejected_blocks=encoder.rejects,
            decoded_blocks=decoder.blocks,
            decoded_raw=decoder.raw,
            decoded_wire=decoder.wire,
            decoded_copied=decoder.copied,
            decoded_literal=decoder.literal,
            decoded_logged=decoder.logged,
            bad_blocks=decoder.bad,
            written_log=total(self._mine.valid),
            received_log=total(self._theirs.valid),
            log_capacity=self._mine.ring.size + self._theirs.ring.size,
            index=self._indexing.index.size,
        )

    def _check_ready(self) -> None:
        if not self._ready:
            raise RuntimeError("no session: accept the peer's offer first")
