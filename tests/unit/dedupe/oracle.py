"""The reference codec: docs/FORMAT.md in plain Python, slow and obvious, sharing no code with dedupe/."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import IO, cast

import lz4.block
import xxhash
import zstandard

NONE, RAW, LZ4, FRAME, STREAM, START = range(6)
PACKED = (FRAME, STREAM, START)
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
    head: bytes
    length: int  # of the tokens; of tokens and literals where they are packed
    section: bytes  # the tokens; empty where they are packed
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
    position = 0
    shift = [0, 0]
    for token in tokens:
        if isinstance(token, Literal):
            out += varint(token.length << 2 | token.logged << 1)
        else:
            difference = token.offset - position - shift[token.log]
            moved = difference != 0
            out += varint(token.length << 4 | moved << 3 | token.log << 2 | token.logged << 1 | 1)
            if moved:
                out += varint(2 * difference if difference > 0 else -2 * difference - 1)
            shift[token.log] = token.offset - position
        position += token.length
    return out


def read_tokens(source: IO[bytes], raw_length: int) -> list[Token]:
    """Up to the one that ends the block."""
    tokens: list[Token] = []
    position = 0
    shift = [0, 0]
    while position < raw_length:
        head = read_varint(source)
        logged = bool(head & 2)
        if not head & 1:
            tokens.append(Literal(head >> 2, logged))
        else:
            log, length = head >> 2 & 1, head >> 4
            if head & 8:
                zigzag = read_varint(source)
                shift[log] += zigzag // 2 if zigzag % 2 == 0 else -(zigzag + 1) // 2
            tokens.append(Copy(log, (position + shift[log]) % (1 << 64), length, logged))
        if tokens[-1].length == 0:
            raise Refused("an empty token")
        position += tokens[-1].length
    if position != raw_length:
        raise Refused("the tokens' lengths do not add up")
    return tokens


def checksum(raw: bytes, prefix: bytes, epoch: int) -> bytes:
    seed = xxhash.xxh3_64_intdigest(prefix, epoch)
    return xxhash.xxh3_64_intdigest(raw, seed).to_bytes(8, "little")


def parse(wire: bytes) -> Parsed:
    source = io.BytesIO(wire)
    flags = source.read(1)
    if not flags or flags[0] > 15 or flags[0] & 7 > START:
        raise Refused("flags")
    raw_length = read_varint(source)
    base = read_varint(source) if flags[0] & 8 else None
    length = read_varint(source)
    head = wire[: source.tell()]
    coding = flags[0] & 7
    packed = coding in PACKED
    if packed and length > 2 * raw_length:
        raise Refused("more tokens than bytes")
    section = b"" if packed else source.read(length)
    check = source.read(8)
    if len(check) != 8 or (not packed and len(section) != length):
        raise Refused("cut short")
    return Parsed(coding, raw_length, base, head, length, section, check, source.read())


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


def pack(coding: int, section: bytes, literals: bytes, window: PlainEncodeWindow | None) -> bytes:
    """What follows the check."""
    if coding in (NONE, RAW):
        return literals
    if coding == LZ4:
        return cast(bytes, lz4.block.compress(literals, store_size=False))
    if coding == FRAME:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, window_log=16, format=MAGICLESS, write_content_size=False
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compress(section + literals)
    assert window is not None
    return window.compress(coding, section + literals)


def unpack_payload(block: Parsed, window: PlainDecodeWindow | None) -> bytes:
    """The literals; of a packed block tokens and literals."""
    if block.coding in (NONE, RAW):
        return block.payload
    if block.coding == LZ4:
        return cast(bytes, lz4.block.decompress(block.payload, uncompressed_size=block.raw_length))
    if block.coding == FRAME:
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW, format=MAGICLESS)
        out = decompressor.stream_reader(block.payload).read(block.length)
    elif window is not None:
        out = window.decompress(block.coding, block.payload)
    else:
        raise Refused(f"coding {block.coding} needs a window")
    if len(out) != block.length:
        raise Refused("the payload's length")
    return out


def unpack(block: Parsed, window: PlainDecodeWindow | None) -> tuple[list[Token], bytes, bytes]:
    """The tokens, their bytes, and the literals."""
    payload = unpack_payload(block, window)
    source = io.BytesIO(payload if block.coding in PACKED else block.section + payload)
    tokens = read_tokens(source, block.raw_length)
    section, literals = source.getvalue()[: source.tell()], source.read()
    if block.coding not in PACKED and section != block.section:
        raise Refused("the tokens' length")
    if any(token.logged for token in tokens) != (block.base is not None):
        raise Refused("a log base is there when something is logged, and only then")
    if sum(token.length for token in tokens if isinstance(token, Literal)) != len(literals):
        raise Refused("the literals' length")
    if (block.coding == NONE) != (not payload):
        raise Refused("a coding for nothing")
    return tokens, section, literals


def decode(wire: bytes, senders: PlainLog, receivers: PlainLog, window: PlainDecodeWindow | None) -> bytes:
    """The original bytes; the copy of the sender's log grows."""
    block = parse(wire)
    tokens, section, literal_bytes = unpack(block, window)
    literals = io.BytesIO(literal_bytes)
    raw = logged = b""
    for token in tokens:
        if isinstance(token, Literal):
            piece = literals.read(token.length)
        else:
            piece = (senders, receivers)[token.log].read(token.offset, token.length)
        raw += piece
        logged += piece if token.logged else b""
    if checksum(raw, block.head + section, senders.epoch) != block.checksum:
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
    section = write_tokens(tokens)
    if coding in PACKED and len(section) + len(literals) > 2 * len(raw):
        coding = RAW
    if (not literals and coding not in PACKED) or not raw:
        coding = NONE
    logs = any(token.logged for token in tokens)
    head = bytes([coding | logs << 3]) + varint(len(raw)) + (varint(base) if logs else b"")
    packed = coding in PACKED
    head += varint(len(section) + len(literals) if packed else len(section))
    check = checksum(raw, head + section, epoch)
    return head + (b"" if packed else section) + check + pack(coding, section, literals, window)
