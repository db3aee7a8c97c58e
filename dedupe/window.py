"""Per-flow compression windows (zstd streaming) and the bounded pools they draw their memory from."""

import threading
import weakref
from collections import OrderedDict
from typing import IO, cast

import zstandard

WINDOW_LOG = 20
MOST_WINDOWS = 32  # live at one time in one direction of a session; part of the format
# A greedy search cut short: what level 5 finds less 1 to 3 %, in the time of level 4.
_TUNED = {5: {"search_log": 2, "hash_log": 18}}
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
_FLUSH = zstandard.COMPRESSOBJ_FLUSH_BLOCK
LEAST_APART = 64  # a block of its own costs 3 bytes and saves up to a tenth of the tokens


def compressor(window_log: int, level: int) -> zstandard.ZstdCompressor:
    """A context much like `zstd -LEVEL`, without magic number, content size and checksum in its frames."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        window_log=window_log,
        **_TUNED.get(level, {}),
        format=_FORMAT,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def decompressor() -> zstandard.ZstdDecompressor:
    """Refuses frames that want a larger window than an encoder may use."""
    return zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG, format=_FORMAT)


def pack(stream: "zstandard.ZstdCompressionObj", tokens: bytes, literals: bytes | memoryview) -> bytes:
    """Tokens, then literals. They are unlike: many tokens get a zstd block with statistics of their own."""
    packed = stream.compress(tokens)
    if len(tokens) >= LEAST_APART:
        packed += stream.flush(_FLUSH)
    return packed + stream.compress(literals)


class EncodeStream:
    """One zstd stream; every block is flushed, so nothing is held back."""

    def __init__(self, owner: "EncodeWindow", context: zstandard.ZstdCompressor, level: int) -> None:
        self.owner = weakref.ref(owner)
        self.context = context
        self.level = level
        self.used = 0
        self._stream = context.compressobj()

    def compress(self, tokens: bytes, literals: bytes | memoryview) -> bytes:
        return pack(self._stream, tokens, literals) + self._stream.flush(_FLUSH)


class EncodeWindow:
    """A flow's sending side: its zstd stream, if it has earned one, and where its bytes go on if they repeat.

    Drop it when the flow ends. One encode at a time may use it; reset() may be called from any thread.
    """

    def __init__(self) -> None:
        self.stream: EncodeStream | None = None
        self.packed = 0  # bytes that were worth a try
        self.session = -1
        self.hint = (0, 0, 0)  # log, offset, bytes matched up to there
        self._stale = False

    def reset(self) -> None:
        """The next block starts a new stream (the peer may have lost this one)."""
        self._stale = True

    def settle(self, session: int) -> None:
        """Carry a reset out, asked for or implied by a new session."""
        if self._stale or self.session != session:
            self._stale = False
            self.session = session
            self.stream = None
            self.hint = (0, 0, 0)


STREAM = 3 << 20  # bytes of memory,
DECODED = 3 << 19  # and at its other end


class Allowance:
    """How many streams of one direction all sessions of this process may have together; each may have one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, *, first: bool) -> bool:
        with self._lock:
            if self.taken >= self.most and not first:
                return False
            self.taken += 1
            return True

    def give(self, count: int) -> None:
        with self._lock:
            self.taken -= count


allowance = Allowance(4 * MOST_WINDOWS)
decoding = Allowance(8 * MOST_WINDOWS)


def allow_windows(memory: int) -> None:
    """Let all sessions of this process use about `memory` bytes for their windows, in each direction."""
    allowance.most, decoding.most = memory // STREAM, memory // DECODED


class EncodePool:
    """At most MOST_WINDOWS streams. One that was not used lately goes to the next flow that needs one."""

    PATIENCE = 4 * MOST_WINDOWS  # blocks
    MODESTY = 1024  # blocks, after which one more is tried again

    def __init__(self) -> None:
        self._streams: OrderedDict[int, EncodeStream] = OrderedDict()
        self._fewest, self._refused_at = MOST_WINDOWS, 0
        self._clock = 0

    @property
    def _most(self) -> int:
        return min(MOST_WINDOWS, self._fewest + (self._clock - self._refused_at) // self.MODESTY)

    def rest(self) -> None:
        """Gives all memory back; a flow that goes on begins a new stream."""
        while self._streams:
            self._end_oldest()

    def fewer(self) -> None:
        """The peer has lost a stream, perhaps because its memory is short: one less for a while."""
        if self._streams:
            self._fewest, self._refused_at = max(1, len(self._streams) - 1), self._clock
            self._end_oldest()

    def _end_oldest(self) -> None:
        _, stream = self._streams.popitem(last=False)
        owner = stream.owner()
        if owner is not None and owner.stream is stream:
            owner.stream = None
        allowance.give(1)

    def __del__(self) -> None:
        allowance.give(len(self._streams))

    def stream(self, window: EncodeWindow, level: int) -> tuple[EncodeStream, bool] | None:
        """The window's stream and whether it is new; None when all are busy. One that goes on keeps its level."""
        self._clock += 1
        stream = window.stream
        fresh = stream is None
        if stream is None:
            context = self._context(level)
            if context is None:
                return None
            stream = window.stream = EncodeStream(window, context, level)
            self._streams[id(context)] = stream
        stream.used = self._clock
        self._streams.move_to_end(id(stream.context))
        return stream, fresh

    def _context(self, level: int) -> zstandard.ZstdCompressor | None:
        for key, stream in self._streams.items():
            owner = stream.owner()
            if owner is None or owner.stream is not stream:
                return self._take(key, level)
        if len(self._streams) < self._most and allowance.take(first=not self._streams):
            return compressor(WINDOW_LOG, level)
        key, stream = next(iter(self._streams.items()))
        if self._clock - stream.used < self.PATIENCE:
            return None
        owner = stream.owner()
        if owner is not None:
            owner.stream = None
        return self._take(key, level)

    def _take(self, key: int, level: int) -> zstandard.ZstdCompressor:
        stream = self._streams.pop(key)
        return stream.context if stream.level == level else compressor(WINDOW_LOG, level)


class _Feed:
    """The compressed bytes of the block at hand, as a stream reader wants them."""

    def __init__(self) -> None:
        self.data = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        piece = bytes(self.data if size < 0 else self.data[:size])
        self.data = self.data[len(piece) :]
        return piece


class DecodeStream:
    """The reading end of an EncodeStream: asks for exactly as many bytes as a block says it has."""

    def __init__(self) -> None:
        decoding.take(first=True)
        self._feed = _Feed()
        self._reader = decompressor().stream_reader(cast(IO[bytes], self._feed), read_size=1 << 17)

    def __del__(self) -> None:
        decoding.give(1)

    def decompress(self, payload: memoryview, length: int) -> bytes:
        """At most `length` bytes; zstandard.ZstdError for garbage. After a short answer the stream is over."""
        self._feed.data = payload
        return self._reader.read(length)


class DecodeWindow:
    """A flow's receiving side. Drop it when the flow ends. One decode at a time may use it."""

    def __init__(self) -> None:
        self.stream: DecodeStream | None = None
        self.session = -1
        self._stale = False

    def reset(self) -> None:
        """Forget the stream; the sender must start a new one."""
        self._stale = True

    def settle(self, session: int) -> None:
        if self._stale or self.session != session:
            self._stale = False
            self.session = session
            self.stream = None


class DecodePool:
    """Bounds the streams that a peer can make us keep: more than a correct sender has live, unless all peers together
    have more than they may. A sender whose stream had to go keeps fewer.
    """

    MOST = 2 * MOST_WINDOWS

    def __init__(self) -> None:
        self._windows: OrderedDict[int, weakref.ref[DecodeWindow]] = OrderedDict()

    def start(self, window: DecodeWindow) -> DecodeStream:
        """A new stream for the window; the one longest unused may have to go."""
        self._windows.pop(id(window), None)
        window.stream = None
        while len(self._windows) >= self.MOST or (self._windows and decoding.taken >= decoding.most):
            _, oldest = self._windows.popitem(last=False)
            owner = oldest()
            if owner is not None:
                owner.stream = None
        self._windows[id(window)] = weakref.ref(window)
        window.stream = DecodeStream()
        return window.stream

    def touch(self, window: DecodeWindow) -> None:
        if id(window) in self._windows:
            self._windows.move_to_end(id(window))
