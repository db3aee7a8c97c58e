"""The bulk session: which flow's bytes are encoded next, and what becomes of the blocks that arrive.

One block of a peer is encoded at a time, because the order of encoding is the order of the log. The next block
is chosen only when the lane has room for it: the queue stays here, by flow, where the least served goes first.
"""

from __future__ import annotations

import heapq
import math
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Protocol

import dedupe
from appliance.flows.buffers import Share
from appliance.lanes import frames
from appliance.lanes.frames import FIN, ProtocolError
from appliance.lanes.session import Sender
from appliance.loop import Loop, Queue

if TYPE_CHECKING:
    from appliance.flows.flow import Flow
    from appliance.lanes.lane import Lane

QUEUE_S = 0.05  # of the link's time in the lane's queue stop the encoder; nothing overtakes what is there:
LEAST_QUEUE = 8 * 1024  # so many bytes of a slow link
HIGH_WATER = 192 * 1024  # to so many of a fast one
HELD_WIRE = 32 << 20  # bytes of unacknowledged frames
HELD_BLOCKS = 256  # unacknowledged blocks, whose original bytes are kept for a NAK
GATHER_S = 0.002  # a flow that has just given a block gathers this long for a fuller one
GATHER_BYTES = 128 * 1024
THREAD_BYTES = 32 * 1024  # literal bytes of the last block that make the next one worth a hand-over
DENSE_BELOW = 40e6  # bytes per second of the link; above, zstd is slower than the link that it would save
FIRST_DENSE = 4  # blocks, before anything is known of the link
TRIES = 5  # to send a block that the peer cannot decode
EARLY_STREAMS = 4096
LATE_WINDOWS = 64  # of ended streams, whose last blocks may still be on their way
_DOMAIN_SHIFT = 1


@dataclass
class Sent:
    """A block under way, with what a NAK needs."""

    flow: Flow
    block: dedupe.Block
    buffer: bytearray | None
    length: int
    offset: int
    flags: int
    cache: dedupe.Cache
    rejected: bool = False
    tries: int = 1


class BulkOwner(Protocol):
    """The peer, as its bulk session sees it."""

    loop: Loop
    worker: Queue
    buffers: Share

    def cache(self, domain: int) -> dedupe.Cache: ...

    def cache_used(self, cache: dedupe.Cache) -> None: ...

    def bulk_lane(self) -> Lane | None: ...

    def flow(self, stream: int) -> Flow | None: ...

    def yet_to_open(self, stream: int) -> bool: ...

    def deliver(self, flow: Flow, offset: int, data: bytes | memoryview, fin: bool) -> None: ...

    def bulk_frame(self, kind: int, body: bytes) -> None: ...

    def bulk_took(self, work: int) -> None: ...

    def bulk_violation(self, reason: str) -> None: ...

    def bad_block(self, reason: str) -> None: ...

    def bulk_give_up(self, flow: Flow) -> None: ...


class BulkSender:
    """Chooses, encodes and sends; everything that is under way is in `session`."""

    def __init__(self, owner: BulkOwner) -> None:
        self._owner = owner
        self.session: Sender[Sent] = Sender()
        self._ready: list[tuple[float, int, Flow]] = []
        self._again: deque[Sent] = deque()  # refused by the peer; their turn comes before any other
        self._order = count()
        self._pumping = False
        self._encoding = False
        self._generation = 0
        self._windows: dict[int, dedupe.EncodeWindow] = {}
        self._unacknowledged = 0
        self._blocks = 0
        self._last_literal = 0

    def offer(self, flow: Flow) -> None:
        """`flow` has bytes for the encoder."""
        if flow.queued:
            return
        flow.queued = True
        wait = flow.cut_at + GATHER_S - self._owner.loop.now
        if flow.attained and wait > 0 and flow.pending < GATHER_BYTES:
            self._owner.loop.call_later(wait, lambda: self._enqueue(flow))
        else:
            self._enqueue(flow)

    def _enqueue(self, flow: Flow) -> None:
        heapq.heappush(self._ready, (flow.attained / flow.weight, next(self._order), flow))
        self.pump()

    def block_size(self, flow: Flow) -> int:
        """Original bytes that the flow's next block may have, so that nobody waits long for it to leave."""
        lane = self._owner.bulk_lane()
        queue = HIGH_WATER if lane is None else _queue(lane)
        if queue == HIGH_WATER:
            return frames.MAX_BLOCK
        return min(int(queue * max(flow.gain, 1.0)), frames.MAX_BLOCK)

    def forget(self, stream: int) -> None:
        self._windows.pop(stream, None)

    def pump(self) -> None:
        """Encodes while lane, peer and log have room."""
        if self._pumping:
            return
        self._pumping = True
        try:
            self._pump()
        finally:
            self._pumping = False

    def _pump(self) -> None:
        ready = self._ready
        while not self._encoding:
            lane = self._owner.bulk_lane()
            if (
                lane is None
                or lane.backlog >= _queue(lane)
                or self.session.held_bytes >= HELD_WIRE
                or self._unacknowledged >= HELD_BLOCKS
            ):
                return
            if self._again:
                self._repeat(self._again.popleft())
                continue
            if not ready:
                return
            flow = ready[0][2]
            if flow.closed or not flow.pending:
                heapq.heappop(ready)
                flow.queued = False
                continue
            cache = self._owner.cache(flow.domain)
            if flow.store and self._unacknowledged and cache.room() < frames.MAX_BLOCK:
                return
            heapq.heappop(ready)
            flow.queued = False
            self._encode(flow, cache, lane)

    def _encode(self, flow: Flow, cache: dedupe.Cache, lane: Lane) -> None:
        buffer, length, offset, fin = flow.take_block()
        effort = dedupe.Effort.DENSE if self._link_is_slow(lane) else dedupe.Effort.FAST
        window = self._windows.get(flow.stream)
        if window is None:
            window = self._windows[flow.stream] = dedupe.EncodeWindow()
        raw = memoryview(buffer)[:length]
        flags = (FIN if fin else 0) | flow.domain << _DOMAIN_SHIFT
        generation = self._generation
        self._encoding = True
        flow.blocks += 1

        def job() -> dedupe.Block:
            return cache.encode(raw, effort=effort, window=window, store=flow.store, literal=not flow.store)

        def done(block: dedupe.Block | None, error: Exception | None) -> None:
            self._encoding = False
            if generation != self._generation:
                self._owner.buffers.give(buffer)
                return
            if block is None:
                raise error or RuntimeError("the encoder gave no block")
            self._last_literal = block.literal
            self._owner.cache_used(cache)
            self._send(Sent(flow, block, buffer, length, offset, flags, cache))
            flow.block_sent()

        if min(length, self._last_literal) >= THREAD_BYTES:

            def back(block: dedupe.Block | None, error: Exception | None) -> None:
                done(block, error)
                self.pump()

            self._owner.worker.submit(job, back)
        else:
            done(job(), None)

    def _link_is_slow(self, lane: Lane) -> bool:
        """Whether a byte saved on the link is worth more than the time it takes to save it."""
        self._blocks += 1
        if self._blocks <= FIRST_DENSE:
            return True
        # A link of which nothing is known never held anything up for long.
        return lane.bottleneck < DENSE_BELOW

    def _send(self, sent: Sent) -> None:
        frame = frames.block(sent.flow.stream, sent.offset, sent.flags, sent.block.wire)
        sent.flow.wan_out += len(frame)
        sent.flow.gain = sent.length / len(frame)
        self.session.push(frame, sent)
        self._unacknowledged += 1
        lane = self._owner.bulk_lane()
        if lane is not None:
            lane.send(frame)
        if sent.flow.pending and not sent.flow.closed:
            self.offer(sent.flow)

    def acknowledge(self, received: int) -> None:
        """The peer has decoded and verified that many frames of this session. Raises SessionError."""
        for sent in self.session.acknowledge(received):
            self._unacknowledged -= 1
            if not sent.rejected:
                sent.cache.acknowledge(sent.block)
            self._release(sent)
        self.pump()

    def rejected(self, number: int) -> None:
        """The peer could not decode frame `number`: its bytes go again as literals, in their turn."""
        sent = self.session.token(number)
        if sent is None or sent.rejected:
            raise ProtocolError(f"NAK of frame {number}, which is no block under way")
        sent.rejected = True
        sent.cache.reject(sent.block)
        self._windows.pop(sent.flow.stream, None)
        if sent.flow.reason or sent.buffer is None:
            return  # broken off: nobody waits for these bytes
        if sent.tries == TRIES:
            self._owner.bulk_give_up(sent.flow)
            return
        again = replace(sent, rejected=False, tries=sent.tries + 1)
        sent.buffer = None
        self._again.append(again)
        self.pump()

    def _repeat(self, sent: Sent) -> None:
        assert sent.buffer is not None
        raw = memoryview(sent.buffer)[: sent.length]
        sent.block = sent.cache.encode(raw, effort=dedupe.Effort.RAW, store=sent.flow.store, literal=True)
        self._send(sent)

    def say(self, frame: bytes) -> None:
        """A frame that keeps its place among the blocks."""
        self.session.push(frame)
        lane = self._owner.bulk_lane()
        if lane is not None:
            lane.send(frame)

    def reset(self) -> None:
        """The association has ended: nothing that is under way will be acknowledged."""
        self._generation += 1
        for sent in self.session.acknowledge(self.session.sent):
            self._release(sent)
        self.session = Sender()
        for sent in self._again:
            self._release(sent)
        self._again.clear()
        for _, _, flow in self._ready:
            flow.queued = False
        self._ready.clear()
        self._windows.clear()
        self._unacknowledged = 0

    def _release(self, sent: Sent) -> None:
        if sent.buffer is not None:
            sent.flow.blocks -= 1
            self._owner.buffers.give(sent.buffer)
            sent.buffer = None


def _queue(lane: Lane) -> int:
    """Bytes that may wait in the lane's own queue."""
    rate = lane.pace if lane.bottleneck == math.inf else lane.carries
    return int(min(max(QUEUE_S * rate, LEAST_QUEUE), HIGH_WATER))


class BulkReceiver:
    """Decodes the blocks of the bulk session in their order and hands the bytes to the flows."""

    QUEUE = 4 << 20  # wire bytes waiting for the decoder at which the lane is paused
    EARLY = 16 << 20  # bytes of streams whose OPEN is still on its way over the express lane: the same;
    EARLY_PIECE = 128  # what it takes to keep each counts too
    MOST_EARLY = 2 * EARLY  # only a peer that goes on over one new lane after the other comes so far

    def __init__(self, owner: BulkOwner) -> None:
        self._owner = owner
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued = 0
        self._decoding = False
        self._generation = 0
        self._windows: dict[int, dedupe.DecodeWindow] = {}
        self._late: OrderedDict[int, dedupe.DecodeWindow] = OrderedDict()
        self._early: dict[int, list[tuple[int, int, int, bytes]]] = {}
        self._early_bytes = 0

    def take(self, kind: int, body: bytes) -> None:
        """A frame of the bulk session, or an ACK, which must not overtake a NAK. Raises ProtocolError."""
        if self._decoding or self._queue:
            self._queue.append((kind, body))
            self._queued += len(body)
            self._pace()
        else:
            self._process(kind, body)

    def forget(self, stream: int) -> None:
        """The stream has ended here; blocks of it may still be under way, and the log needs them."""
        window = self._windows.pop(stream, None)
        if window is not None:
            self._keep_late(stream, window)

    def rest(self) -> None:
        """Nothing has been under way for a while: what ended streams have left is of no use any more."""
        self._late.clear()

    def _keep_late(self, stream: int, window: dedupe.DecodeWindow) -> None:
        self._late[stream] = window
        if len(self._late) > LATE_WINDOWS:
            self._late.popitem(last=False)

    def _window(self, stream: int) -> dedupe.DecodeWindow:
        window = self._windows.get(stream) or self._late.get(stream)
        if window is None:
            window = dedupe.DecodeWindow()
            if self._owner.flow(stream) or self._owner.yet_to_open(stream):
                self._windows[stream] = window
            else:
                self._keep_late(stream, window)
        return window

    def reset(self) -> None:
        self._generation += 1
        self._queue.clear()
        self._queued = 0
        self._windows.clear()
        self._late.clear()
        self._early.clear()
        self._early_bytes = 0

    def _process(self, kind: int, body: bytes) -> None:
        if kind != frames.Kind.BLOCK:
            self._owner.bulk_frame(kind, body)
            return
        stream, offset, flags, wire = frames.read_data(body)
        cache = self._owner.cache(flags >> _DOMAIN_SHIFT)
        flow = self._owner.flow(stream)
        if flow is not None and flow.domain != flags >> _DOMAIN_SHIFT:
            raise ProtocolError(f"a block of stream {stream} in the cache of another domain")
        window = self._window(stream)
        generation = self._generation

        def job() -> bytes:
            return cache.decode(wire, window=window, limit=frames.MAX_BLOCK)

        if len(wire) < THREAD_BYTES:
            self._now(job, lambda raw, error: self._decoded(stream, offset, flags, len(body), raw, error))
            return

        def back(raw: bytes | None, error: Exception | None) -> None:
            self._decoding = False
            if generation != self._generation:
                return
            try:
                self._decoded(stream, offset, flags, len(body), raw, error)
                self._drain()
            except ProtocolError as violation:
                self._owner.bulk_violation(str(violation))
            except Exception as failure:  # noqa: BLE001 - one peer's frames must not end the flows of all others
                traceback.print_exc()
                self._owner.bulk_violation(f"internal error, please report it: {failure!r}")

        self._decoding = True
        self._owner.worker.submit(job, back)

    @staticmethod
    def _now(job: Callable[[], bytes], done: Callable[[bytes | None, Exception | None], None]) -> None:
        try:
            raw = job()
        except dedupe.BadBlock as error:
            done(None, error)
        else:
            done(raw, None)

    def _decoded(
        self, stream: int, offset: int, flags: int, size: int, raw: bytes | None, error: Exception | None
    ) -> None:
        owner = self._owner
        flow = owner.flow(stream)
        if raw is None:
            if not isinstance(error, dedupe.BadBlock):
                raise error or RuntimeError("the decoder gave no bytes")
            self._windows.pop(stream, None)
            self._late.pop(stream, None)
            owner.bad_block(str(error))
            owner.bulk_took(0)
            return
        if flow is not None:
            flow.wan_in += size
            owner.deliver(flow, offset, raw, bool(flags & FIN))
        elif owner.yet_to_open(stream):
            if len(self._early) >= EARLY_STREAMS and stream not in self._early:
                raise ProtocolError(f"blocks of {EARLY_STREAMS} streams that nobody has opened")
            if self._early_bytes > self.MOST_EARLY:
                raise ProtocolError(f"{self._early_bytes} bytes of streams that nobody has opened")
            self._early.setdefault(stream, []).append((offset, flags, size, raw))
            self._early_bytes += len(raw) + self.EARLY_PIECE
            self._pace()
        owner.cache_used(owner.cache(flags >> _DOMAIN_SHIFT))
        owner.bulk_took(len(raw))

    def _drain(self) -> None:
        while self._queue and not self._decoding:
            kind, body = self._queue.popleft()
            self._queued -= len(body)
            self._process(kind, body)
        self._pace()

    def opened(self, stream: int) -> None:
        """The stream's OPEN has come, and been granted or not: what came before it has its turn now."""
        pieces = self._early.pop(stream, ())
        self._early_bytes -= sum(len(raw) + self.EARLY_PIECE for *_, raw in pieces)
        for offset, flags, size, raw in pieces:
            flow = self._owner.flow(stream)
            if flow is not None:
                flow.wan_in += size
                self._owner.deliver(flow, offset, raw, bool(flags & FIN))
        if pieces:
            self._pace()
        if self._owner.flow(stream) is None:
            self.forget(stream)

    def _pace(self) -> None:
        """Slows the peer down when more waits here than should, and lets it go on at half of that."""
        if self._queued > self.QUEUE or self._early_bytes > self.EARLY:
            self._pause(True)
        elif self._queued <= self.QUEUE // 2 and self._early_bytes <= self.EARLY // 2:
            self._pause(False)

    def _pause(self, paused: bool) -> None:
        lane = self._owner.bulk_lane()
        if lane is not None:
            lane.pause(paused)
