"""What a block's literals are stored as: raw, LZ4, a zstd frame, or a piece of the flow's zstd stream."""

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
)


class Effort(enum.IntEnum):
    """How much CPU the literals are worth: none, LZ4 (the CPU is short), zstd -1, zstd -5 (the link is short)."""

    RAW = 0
    FAST = 1
    DEFAULT = 2
    DENSE = 3


class Coding(enum.IntEnum):
    """The low three bits of a block's first byte."""

    NONE = 0
    RAW = 1
    LZ4 = 2
    FRAME = 3  # a zstd frame of its own
    STREAM = 4  # goes on in the flow's zstd stream
    START = 5  # starts a new one


LEAST = 48  # fewer literals are not worth a try
SAMPLE = 8192
EARNED = 64 * 1024  # literals of a flow before it gets a stream, which costs 3 MB
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

    def encode(
        self, data: bytes | memoryview, effort: Effort, window: EncodeWindow | None
    ) -> tuple[Coding, bytes | memoryview]:
        """The coding and the stored bytes; never more than data + 1 % (and a few bytes)."""
        if not data:
            return Coding.NONE, b""
        if effort == Effort.RAW or len(data) < LEAST or _hopeless(data):
            return Coding.RAW, data
        if effort == Effort.FAST:
            return _smaller(Coding.LZ4, lz4.block.compress(data, store_size=False), data)
        level = LEVELS[effort]
        if window is not None:
            window.literals += len(data)
            if window.literals >= EARNED and (found := self._pool.stream(window, level)) is not None:
                stream, fresh = found
                return Coding.START if fresh else Coding.STREAM, stream.compress(data)
        return _smaller(Coding.FRAME, self._frames[level].compress(data), data)


class LiteralDecoder:
    """One decoding thread's contexts."""

    def __init__(self) -> None:
        self._pool = DecodePool()
        self._frames = decompressor()

    def decode(self, coding: int, payload: memoryview, length: int, window: DecodeWindow | None) -> bytes:
        """Exactly `length` bytes; BadBlock for anything else. Never makes more than `length`."""
        try:
            data = self._decode(coding, payload, length, window)
        except (zstandard.ZstdError, lz4.block.LZ4BlockError) as error:
            raise BadBlock(f"literals: {error}") from error
        if len(data) != length:
            raise BadBlock(f"literals: {len(data)} bytes where the tokens have {length}")
        return data

    def _decode(self, coding: int, payload: memoryview, length: int, window: DecodeWindow | None) -> bytes:
        if coding == Coding.NONE or coding == Coding.RAW:
            if len(payload) != length or (coding == Coding.NONE) != (length == 0):
                raise BadBlock(f"literals: {len(payload)} bytes where the tokens have {length}")
            return bytes(payload)
        if length == 0:
            raise BadBlock("literals: a coding for none")
        if coding == Coding.LZ4:
            data: bytes = lz4.block.decompress(payload, uncompressed_size=length)
            return data
        if coding == Coding.FRAME:
            with self._frames.stream_reader(payload) as reader:
                return reader.read(length)
        if window is None or coding not in (Coding.STREAM, Coding.START):
            raise BadBlock(
                f"literals: coding {coding} {'without a window' if window is None else 'is unknown'}"
            )
        if coding == Coding.START:
            stream = self._pool.start(window)
        elif window.stream is None:
            raise BadBlock("literals: the window is lost")
        else:
            stream = window.stream
            self._pool.touch(window)
        return stream.decompress(payload, length)


def _smaller(coding: Coding, packed: bytes, data: bytes | memoryview) -> tuple[Coding, bytes | memoryview]:
    return (coding, packed) if len(packed) < len(data) else (Coding.RAW, data)


def _hopeless(data: bytes | memoryview) -> bool:
    """Bytes spread like random ones, of which a small compression gains nothing either."""
    if not lib.bl_incompressible(ffi.from_buffer(data), len(data)):
        return False
    middle = memoryview(data)[len(data) // 2 :][:SAMPLE]
    return len(lz4.block.compress(middle, store_size=False)) > len(middle) * 0.97
