"""The frames on a lane: what goes over the wire between two Branchlines, and nothing of how it gets there.

A frame is `varint(length) kind body`, the length counting kind and body. Kinds below 16 speak of the lane
itself. The others belong to the session that the lane carries; both ends count them from the start of the
session, so that a session can go on over another lane (docs/LANES.md).
"""

from __future__ import annotations

import enum
import errno
import ipaddress
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from appliance.lanes.varint import LIMIT, read_varint, varint

VERSION = 1
OLDEST_VERSION = 1
MAX_BLOCK = 256 * 1024  # original bytes in one block
MAX_MESSAGE = 4096  # original bytes in one message, and of one turn of a conversation; what is longer is bulk
MAX_FRAME = MAX_BLOCK + 16 * 1024  # wire bytes of one frame, after its length
MAX_HELLO = 64 * 1024
ASYMMETRIC = errno.EMULTIHOP  # of a FAILED: the server answers the far box, and not the client by way of it
SITE_FEATURE = "site"  # of a HELLO: its sender understands SITE
FULL_FEATURE = "full"  # the same for FULL

Address: TypeAlias = tuple[str, int]


class ProtocolError(Exception):
    """The peer sent what no Branchline sends; the lane that carried it is closed."""


class FrameError(ProtocolError):
    """A frame that cannot be read."""


class Kind(enum.IntEnum):
    HELLO = 0
    ACK = 1
    PING = 2
    PONG = 3
    BYE = 4
    ENROL = 5
    SOUND = 6
    DEPTH = 7
    ATTACH = 8
    SITE = 9
    FULL = 10
    HEDGE = 11
    COPY = 12
    OPEN = 16
    DATA = 17
    BLOCK = 18
    CREDIT = 19
    RESET = 20
    FAILED = 21
    NAK = 22


FIRST_SESSION_KIND = 16
FIN = 1  # flag of DATA and BLOCK: the stream ends behind these bytes
_KINDS = frozenset(int(kind) for kind in Kind)
_BYTES = [bytes((value,)) for value in range(256)]
_IPV6 = 1
_NO_STORE = 2
_DSCP_SHIFT = 2


class Hello(msgspec.Struct, forbid_unknown_fields=False):
    """First frame of each side on a lane. Unknown keys are ignored, so that later versions can add some."""

    version: int
    oldest: int
    box: str
    incarnation: int  # drawn at the start of the data plane
    association: list[int]  # (dialler's incarnation, its count): names the pair of sessions
    role: int  # which session this lane is for
    path: str = "wan"  # the dialler's name of the path that the lane takes
    small: bool = False  # large packets of the sender get lost on that path
    begun: int = 0  # associations that the answering box has begun with this peer; a dialler says 0
    features: list[str] = []
    prefixes: list[str] = []
    elsewhere: list[str] = []  # prefixes inside those that belong to other peers
    next_key: str = ""  # the certificate that is going to take the place of the sender's, base64
    accepts: str = ""  # fingerprint of the receiver's next key, if the sender takes it
    offers: dict[str, bytes] = {}  # domain → what the chunk cache holds
    credit: int = 1 << 20  # bytes of a new stream that may be sent before the first CREDIT


class Site(msgspec.Struct, frozen=True):
    """What HELLO says of the sender's site, when it changes."""

    prefixes: list[str] = []
    elsewhere: list[str] = []
    next_key: str = ""
    accepts: str = ""


class Open(msgspec.Struct, frozen=True):
    stream: int
    client: Address
    server: Address
    domain: int
    store: bool
    dscp: int = 0
    layers: tuple[int, ...] = ()


def frame(kind: int, *parts: bytes) -> bytes:
    body = b"".join((_BYTES[kind], *parts))
    return varint(len(body)) + body


def parse(whole: bytes) -> tuple[int, bytes]:
    """Kind and body of a frame that `frame` made."""
    _, at = read_varint(whole, 0)
    return whole[at], whole[at + 1 :]


def hello(message: Hello) -> bytes:
    return frame(Kind.HELLO, msgspec.json.encode(message))


def site(message: Site) -> bytes:
    return frame(Kind.SITE, msgspec.json.encode(message))


def full(reason: int) -> bytes:
    """No new flows are taken, for that reason of `appliance.flows.reasons`; 0: they are again."""
    return frame(Kind.FULL, varint(reason))


def ack(received: int) -> bytes:
    return frame(Kind.ACK, varint(received))


def ping(token: int) -> bytes:
    return frame(Kind.PING, varint(token))


def pong(token: int) -> bytes:
    return frame(Kind.PONG, varint(token))


def sound(stamp: int) -> bytes:
    return frame(Kind.SOUND, varint(stamp))


def depth(microseconds: int) -> bytes:
    return frame(Kind.DEPTH, varint(microseconds))


def bye(reason: str) -> bytes:
    return frame(Kind.BYE, reason.encode()[:512])


def attach(turn: int, received: int, first: int | None = None) -> bytes:
    """`first` is the number of the frame that follows at once; None: the sender waits to hear where to go on."""
    return frame(Kind.ATTACH, varint(turn), varint(received), varint(0 if first is None else first + 1))


def hedge(received: int | None) -> bytes:
    """Session frames come over this lane as well, and are asked for from there on; None: no more."""
    return frame(Kind.HEDGE, varint(0 if received is None else received + 1))


def copy(number: int, whole: bytes) -> bytes:
    """A session frame that `frame` made, with its number."""
    kind, body = parse(whole)
    return frame(Kind.COPY, varint(number), _BYTES[kind], body)


def open_stream(message: Open) -> bytes:
    client = ipaddress.ip_address(message.client[0])
    server = ipaddress.ip_address(message.server[0])
    flags = (_IPV6 if client.version == 6 else 0) | (0 if message.store else _NO_STORE)
    flags |= message.dscp << _DSCP_SHIFT
    return frame(
        Kind.OPEN,
        varint(message.stream),
        bytes((flags, message.domain, len(message.layers), *message.layers)),
        client.packed,
        server.packed,
        message.client[1].to_bytes(2, "big"),
        message.server[1].to_bytes(2, "big"),
    )


def data(stream: int, offset: int, flags: int, packed: bytes) -> bytes:
    return frame(Kind.DATA, varint(stream), varint(offset), _BYTES[flags], packed)


def block(stream: int, offset: int, flags: int, wire: bytes) -> bytes:
    return frame(Kind.BLOCK, varint(stream), varint(offset), _BYTES[flags], wire)


def credit(stream: int, limit: int) -> bytes:
    return frame(Kind.CREDIT, varint(stream), varint(limit))


def reset(stream: int) -> bytes:
    return frame(Kind.RESET, varint(stream))


def failed(stream: int, number: int) -> bytes:
    return frame(Kind.FAILED, varint(stream), varint(number))


def nak(number: int) -> bytes:
    return frame(Kind.NAK, varint(number))


def read_hello(body: bytes) -> Hello:
    try:
        return msgspec.json.decode(body, type=Hello)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"HELLO cannot be read: {error}") from error


def read_site(body: bytes) -> Site:
    try:
        return msgspec.json.decode(body, type=Site)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"SITE cannot be read: {error}") from error


def read_open(body: bytes) -> Open:
    try:
        stream, at = read_varint(body, 0)
        flags, domain, count = body[at], body[at + 1], body[at + 2]
        at += 3
        layers = tuple(body[at : at + count])
        at += count
        size = 16 if flags & _IPV6 else 4
        if len(body) != at + 2 * size + 4:
            raise FrameError(f"OPEN has {len(body)} bytes, its addresses end at {at + 2 * size + 4}")
        client = str(ipaddress.ip_address(body[at : at + size]))
        server = str(ipaddress.ip_address(body[at + size : at + 2 * size]))
    except (IndexError, ValueError) as error:
        raise FrameError(f"OPEN cannot be read: {error}") from error
    client_port = int.from_bytes(body[-4:-2], "big")
    server_port = int.from_bytes(body[-2:], "big")
    store, dscp = not flags & _NO_STORE, flags >> _DSCP_SHIFT
    return Open(stream, (client, client_port), (server, server_port), domain, store, dscp, layers)


def read_numbers(body: bytes, count: int) -> list[int]:
    """Exactly `count` integers: the body of frames that carry nothing else."""
    at = 0
    numbers = []
    try:
        for _ in range(count):
            number, at = read_varint(body, at)
            numbers.append(number)
    except IndexError as error:
        raise FrameError("a number is cut off") from error
    if at != len(body):
        raise FrameError(f"{len(body) - at} bytes too many in a frame of numbers")
    return numbers


def read_copy(body: bytes) -> tuple[int, int, bytes]:
    """Number, kind and body of the session frame in a COPY."""
    try:
        number, at = read_varint(body, 0)
        kind = body[at]
    except IndexError as error:
        raise FrameError("a copy is cut off") from error
    if kind not in _KINDS or kind < FIRST_SESSION_KIND:
        raise FrameError(f"a copy of a frame of kind {kind}")
    return number, kind, body[at + 1 :]


def read_data(body: bytes) -> tuple[int, int, int, memoryview]:
    """Stream, offset, flags and payload of DATA and BLOCK."""
    try:
        stream, at = read_varint(body, 0)
        offset, at = read_varint(body, at)
        flags = body[at]
    except IndexError as error:
        raise FrameError("the head of a data frame is cut off") from error
    if offset + MAX_BLOCK >= LIMIT:
        raise FrameError(f"stream offset {offset} is out of range")
    return stream, offset, flags, memoryview(body)[at + 1 :]


class FrameReader:
    """Cuts received bytes into frames; holds at most one incomplete frame and what one read may bring."""

    READ = 64 * 1024

    def __init__(self) -> None:
        self._buffer = bytearray(self.READ)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self.limit = MAX_HELLO  # of the next frame; raised once the HELLO has been accepted

    def space(self) -> memoryview:
        """Where to receive the next bytes; never empty."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) == self.READ:
                return self._view
        if len(self._buffer) - self._end < self.READ // 2:
            held = bytes(self._view[self._start : self._end])
            size = max(self.READ, len(held) * 2)
            if size > len(self._buffer) or (size == self.READ and len(self._buffer) > 4 * self.READ):
                self._view.release()
                self._buffer = bytearray(size + self.READ)
                self._view = memoryview(self._buffer)
            self._buffer[: len(held)] = held
            self._start, self._end = 0, len(held)
        return self._view[self._end :]

    def received(self, count: int) -> Iterator[tuple[int, bytes]]:
        """Takes `count` bytes written into `space()` and yields (kind, body); raises FrameError on nonsense."""
        self._end += count
        while self._start < self._end:
            buffer, start = self._buffer, self._start
            size = buffer[start]
            begin = start + 1
            if size >= 0x40:
                head = 1 << (size >> 6)
                if head > 4:
                    raise FrameError("a frame longer than any that is allowed")
                begin = start + head
                if begin > self._end:
                    return
                size = int.from_bytes(buffer[start:begin], "big") & ((1 << (8 * head - 2)) - 1)
            if not 1 <= size <= self.limit:
                raise FrameError(f"a frame of {size} bytes, allowed are 1 to {self.limit}")
            end = begin + size
            if end > self._end:
                return
            kind = buffer[begin]
            if kind not in _KINDS:
                raise FrameError(f"a frame of unknown kind {kind}")
            self._start = end
            yield kind, bytes(self._view[begin + 1 : end])
