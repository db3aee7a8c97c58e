"""Express messages: small, compressed on their own, in no log, never held back."""

import threading

import lz4.block
import zstandard

from dedupe.block import Buffer
from dedupe.errors import BadBlock
from dedupe.window import compressor, decompressor

RAW, LZ4, ZSTD = 0, 1, 2
LEAST = 128  # fewer bytes go raw: the gain is not worth the time
WINDOW_LOG = 14
LEVEL = 1  # for 1 KB of text half the time of level 3, and 2 % more bytes


class _Contexts(threading.local):
    """zstd contexts are not shared between threads."""

    def __init__(self) -> None:
        self.compressor = compressor(WINDOW_LOG, LEVEL)
        self.decompressor = decompressor()


_contexts = _Contexts()


def pack(data: Buffer) -> bytes:
    """A method byte and the bytes, raw or as a zstd frame, whichever is shorter."""
    if len(data) >= LEAST:
        packed = _contexts.compressor.compress(data)
        if len(packed) < len(data):
            return bytes([ZSTD]) + packed
    return bytes([RAW]) + data


def unpack(data: Buffer, limit: int) -> bytes:
    """The inverse of pack, at most `limit` bytes; BadBlock for garbage or more. Knows LZ4 as well."""
    view = memoryview(data)
    if not view:
        raise BadBlock("an empty message")
    method, body = view[0], view[1:]
    try:
        if method == RAW:
            message = bytes(body)
        elif method == LZ4:
            message = lz4.block.decompress(body, uncompressed_size=limit)
        elif method == ZSTD:
            with _contexts.decompressor.stream_reader(body) as reader:
                message = reader.read(limit + 1)
        else:
            raise BadBlock(f"method {method} is unknown")
    except (zstandard.ZstdError, lz4.block.LZ4BlockError) as error:
        raise BadBlock(str(error)) from error
    if len(message) > limit:
        raise BadBlock(f"a message of more than {limit} bytes")
    return message
