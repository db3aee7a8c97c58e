"""The reference codec: docs/FORMAT.md in plain Python, slow and obvious, sharing no code with dedupe/."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import IO, cast

import lz4.block
import xxhash
import zstandard

NONE, RAW, LZ4, FRAME, STREAM, START = range(6)
WINDOW = 1 << 20
MAGICLESS = zstandard.FORMAT_ZSTD1_MAGICLESS


class Refused(Exception):  # noqa: N818 - not an error of ours
    """The block breaks the format or names bytes that are not held."""


@dataclass
class PlainLog:
    """Every byte ever written, from offset 0, and which of them are held."""

    epoch: int
    data: bytearray = field(default_factory=bytearray)
    held: bytearray = field(default_factory=bytearray)

    def write(self, offset: int, data: bytes) -> None:
        if offset < len(self.data):
            raise Refused(f"offset {offset} is used already")
        hole = offset - len(self.data)
        self.data += bytes(hole) + data
        self.held += bytes(hole) + b"\1" * len(data)

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > len(self.data) or 0 in self.held[offset : offset + length]:
            raise Refused(f"[{offset}, {offset + length}) is not held")
        return bytes(self.data[offset : offset + length])

    def forget(self) -> None:
        """Whoever held this has lost it; the writer goes on."""
        self.held = bytearray(len(self.held))

    def begin(self, epoch: int) -> None:
        """The writer has lost its log and starts another."""
        self.epoch, self.data, self.held = epoch, bytearray(), bytearray()


@dataclass(frozen=True)
class Literal:
    length: int
    logged: bool


@dataclass(frozen=True)
class Copy:
    log: int
    offset: int
    length: int
    logged: bool


Token = Literal | Copy


@dataclass(frozen=True)
class Parsed:
    coding: int
    raw_length: int
    base: int | None
    tokens: list[Token]
    prefix: bytes
    checksum: bytes
    payload: bytes


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def read_varint(source: IO[bytes]) -> int:
    value = 0
    for place in range(10):
        byte = source.read(1)
        if not byte:
            raise Refused("cut short")
        value += byte[0] % 128 << 7 * place
        if byte[0] < 128:
            if value >= 1 << 64:
                break
            return value
    raise Refused("a number of more than 64 bits")


def write_tokens(tokens: list[Token]) -> bytes:
    out = b""
    previous = [0, 0]
    for token in tokens:
        if isinstance(token, Literal):
            out += varint(token.length << 2 | token.logged << 1)
        else:
            distance = token.offset - previous[token.log]
            zigzag = 2 * distance if distance >= 0 else -2 * distance - 1
            out += varint(token.length << 4 | token.log << 2 | token.logged << 1 | 1) + varint(zigzag)
            previous[token.log] = token.offset + token.length
    return out


def read_tokens(section: bytes) -> list[Token]:
    source = io.BytesIO(section)
    tokens: list[Token] = []
    previous = [0, 0]
    while source.tell() < len(section):
        head = read_varint(source)
        logged = bool(head & 2)
        if not head & 1:
            tokens.append(Literal(head >> 2, logged))
        else:
            log, length, zigzag = head >> 2 & 3, head >> 4, read_varint(source)
            if log > 1:
                raise Refused(f"log {log}")
            distance = zigzag // 2 if zigzag % 2 == 0 else -(zigzag + 1) // 2
            offset = (previous[log] + distance) % (1 << 64)
            previous[log] = offset + length
            tokens.append(Copy(log, offset, length, logged))
        if tokens[-1].length == 0:
            raise Refused("an empty token")
    return tokens


def checksum(raw: bytes, prefix: bytes, epoch: int) -> bytes:
    seed = xxhash.xxh3_64_intdigest(prefix, epoch)
    return xxhash.xxh3_64_intdigest(raw, seed).to_bytes(8, "little")


def parse(wire: bytes) -> Parsed:
    source = io.BytesIO(wire)
    flags = source.read(1)
    if not flags or flags[0] > 15:
        raise Refused("flags")
    raw_length = read_varint(source)
    base = read_varint(source) if flags[0] & 8 else None
    token_length = read_varint(source)
    section = source.read(token_length)
    if len(section) != token_length:
        raise Refused("cut short")
    prefix = wire[: source.tell()]
    tokens = read_tokens(section)
    check = source.read(8)
    if len(check) != 8:
        raise Refused("cut short")
    if sum(token.length for token in tokens) != raw_length:
        raise Refused("the tokens' lengths do not add up")
    if any(token.logged for token in tokens) != (base is not None):
        raise Refused("a log base is there when something is logged, and only then")
    return Parsed(flags[0] & 7, raw_length, base, tokens, prefix, check, source.read())


class PlainEncodeWindow:
    def __init__(self) -> None:
        self.stream: zstandard.ZstdCompressionObj | None = None

    def compress(self, coding: int, data: bytes) -> bytes:
        if coding == START:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                1, window_log=16, format=MAGICLESS, write_content_size=False
            )
            self.stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        assert self.stream is not None
        return self.stream.compress(data) + self.stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


class PlainDecodeWindow:
    def __init__(self) -> None:
        self.stream: zstandard.ZstdDecompressionObj | None = None

    def decompress(self, coding: int, data: bytes) -> bytes:
        if coding == START:
            self.stream = zstandard.ZstdDecompressor(max_window_size=WINDOW, format=MAGICLESS).decompressobj()
        if self.stream is None:
            raise Refused("the window is lost")
        return self.stream.decompress(data)


def pack_literals(coding: int, data: bytes, window: PlainEncodeWindow | None) -> bytes:
    if coding in (NONE, RAW):
        return data
    if coding == LZ4:
        return cast(bytes, lz4.block.compress(data, store_size=False))
    if coding == FRAME:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, window_log=16, format=MAGICLESS, write_content_size=False
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    assert window is not None
    return window.compress(coding, data)


def unpack_literals(coding: int, data: bytes, length: int, window: PlainDecodeWindow | None) -> bytes:
    if coding in (NONE, RAW):
        out = data
    elif coding == LZ4:
        out = lz4.block.decompress(data, uncompressed_size=length)
    elif coding == FRAME:
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW, format=MAGICLESS).stream_reader(data)
        out = reader.read(length)
    elif window is not None:
        out = window.decompress(coding, data)
    else:
        raise Refused(f"coding {coding} needs a window")
    if len(out) != length:
        raise Refused("the literals' length")
    return out


def decode(wire: bytes, senders: PlainLog, receivers: PlainLog, window: PlainDecodeWindow | None) -> bytes:
    """The original bytes; the copy of the sender's log grows."""
    block = parse(wire)
    literal_length = sum(token.length for token in block.tokens if isinstance(token, Literal))
    literals = io.BytesIO(unpack_literals(block.coding, block.payload, literal_length, window))
    raw = logged = b""
    for token in block.tokens:
        if isinstance(token, Literal):
            piece = literals.read(token.length)
        else:
            piece = (senders, receivers)[token.log].read(token.offset, token.length)
        raw += piece
        logged += piece if token.logged else b""
    if checksum(raw, block.prefix, senders.epoch) != block.checksum:
        raise Refused("checksum")
    if block.base is not None:
        senders.write(block.base, logged)
    return raw


def encode(
    raw: bytes,
    tokens: list[Token],
    coding: int,
    base: int,
    epoch: int,
    window: PlainEncodeWindow | None = None,
) -> bytes:
    """The block that says `raw` with these tokens, which the caller knows to be true."""
    literals = b""
    at = 0
    for token in tokens:
        if isinstance(token, Literal):
            literals += raw[at : at + token.length]
        at += token.length
    if not literals:
        coding = NONE
    section = write_tokens(tokens)
    logs = any(token.logged for token in tokens)
    prefix = bytes([coding | logs << 3]) + varint(len(raw)) + (varint(base) if logs else b"")
    prefix += varint(len(section)) + section
    return prefix + checksum(raw, prefix, epoch) + pack_literals(coding, literals, window)
