"""What a block's literals are stored as: raw, LZ4, or packed with its tokens: a zstd frame, or a piece of the flow's
zstd stream."""

import enum

import lz4.block
import zstandard

from dedupe._kernel import ffi, lib
from dedupe.errors import BadBlock
from dedupe.window import (
    DecodePool,
    DecodeWindow,
    EncodePool,
    EncodeWindow,
    compressor,
    decompressor,
    pack,
)


class Effort(enum.IntEnum):
    """How much CPU the payload is worth: none, LZ4 (the CPU is short), zstd -1, zstd -5 (the link is short)."""

    RAW = 0
    FAST = 1
    DEFAULT = 2
    DENSE = 3


CODING = 7


class Coding(enum.IntEnum):
    """The low three bits of a block's first byte."""

    NONE = 0
    RAW = 1
    LZ4 = 2
    FRAME = 3  # a zstd frame of its own
    STREAM = 4  # goes on in the flow's zstd stream
    START = 5  # starts a new one


PACKED = frozenset((Coding.FRAME, Coding.STREAM, Coding.START))
LEAST = 48  # fewer bytes are not worth a try
SAMPLE = 8192
EARNED = 64 * 1024  # bytes of a flow before it gets a stream, which costs 3 MB
FRAME_LOG = 18
LEVELS = {Effort.DEFAULT: 1, Effort.DENSE: 5}  # zstd's


class LiteralEncoder:
    """One encoding thread's contexts."""

    def __init__(self) -> None:
        self._pool = EncodePool()
        self._frames = {level: compressor(FRAME_LOG, level) for level in LEVELS.values()}

    def rest(self) -> None:
        """Gives the memory of all contexts back; the next block makes them anew."""
        self._pool.rest()
        self._frames = {level: compressor(FRAME_LOG, level) for level in LEVELS.values()}

    def refused(self, coding: int) -> None:
        """The peer could not decode a block of that coding."""
        if coding == Coding.STREAM:
            self._pool.fewer()

    def encode(
        self, tokens: bytes, literals: bytes | memoryview, effort: Effort, window: EncodeWindow | None
    ) -> tuple[Coding, bytes | memoryview]:
        """The coding and what follows the check; never more than tokens and literals + 1 % (and a few bytes)."""
        length = len(literals)
        level = LEVELS.get(effort)
        if level is not None and len(tokens) + length >= LEAST:
            # Hopeless literals come along where a good part of all is tokens.
            if (length <= 16 * len(tokens) or not _hopeless(literals)) and (
                packed := self._packed(tokens, literals, level, window)
            ):
                return packed
        elif effort == Effort.FAST and length >= LEAST and not _hopeless(literals):
            packed_literals = lz4.block.compress(literals, store_size=False)
            if len(packed_literals) < length:
                return Coding.LZ4, packed_literals
        return (Coding.RAW, literals) if length else (Coding.NONE, b"")

    def _packed(
        self, tokens: bytes, literals: bytes | memoryview, level: int, window: EncodeWindow | None
    ) -> tuple[Coding, bytes] | None:
        """None when that saves nothing."""
        length = len(tokens) + len(literals)
        if window is not None:
            window.packed += length
            if window.packed >= EARNED and (found := self._pool.stream(window, level)) is not None:
                stream, fresh = found
                return Coding.START if fresh else Coding.STREAM, stream.compress(tokens, literals)
        frame = self._frames[level].compressobj(size=length)
        packed = pack(frame, tokens, literals) + frame.flush()
        return (Coding.FRAME, packed) if len(packed) < length else None


class LiteralDecoder:
    """One decoding thread's contexts."""

    def __init__(self) -> None:
        self._pool = DecodePool()
        self._frames = decompressor()

    def decode(
        self, coding: int, payload: memoryview, length: int, window: DecodeWindow | None
    ) -> bytes | memoryview:
        """Exactly `length` bytes (with a packed coding, of tokens and literals); BadBlock for anything else.

        Never makes more than `length`.
        """
        try:
            data = self._decode(coding, payload, length, window)
        except (zstandard.ZstdError, lz4.block.LZ4BlockError) as error:
            raise BadBlock(f"payload: {error}") from error
        if len(data) != length or (coding == Coding.NONE) != (length == 0):
            raise BadBlock(f"payload: {len(data)} bytes of coding {coding}; {length} were announced")
        return data

    def _decode(
        self, coding: int, payload: memoryview, length: int, window: DecodeWindow | None
    ) -> bytes | memoryview:
        if coding == Coding.NONE or coding == Coding.RAW:
            return payload
        if coding == Coding.LZ4:
            data: bytes = lz4.block.decompress(payload, uncompressed_size=length)
            return data
        if coding == Coding.FRAME:
            with self._frames.stream_reader(payload) as reader:
                return reader.read(length)
        if window is None:
            raise BadBlock(f"payload: coding {coding} without a window")
        if coding == Coding.START:
            stream = self._pool.start(window)
        elif window.stream is None:
            raise BadBlock("payload: the window is lost")
        else:
            stream = window.stream
            self._pool.touch(window)
        return stream.decompress(payload, length)


def _hopeless(data: bytes | memoryview) -> bool:
    """Bytes spread like random ones, of which a small compression gains nothing either."""
    if not lib.bl_incompressible(ffi.from_buffer(data), len(data)):
        return False
    middle = memoryview(data)[len(data) // 2 :][:SAMPLE]
    return len(lz4.block.compress(middle, store_size=False)) > len(middle) * 0.97
