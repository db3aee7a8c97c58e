"""Netlink framing: the few messages that interception exchanges with the kernel besides nftables' own.

Hand-made because its three users (destroying a socket, reading a log group, a conntrack dump with a mark filter)
are one message each, and one of them lives in an event loop as a plain descriptor.
Reference: linux/netlink.h; RFC 3549 for the model.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

NETLINK_SOCK_DIAG: Final = 4
NETLINK_NETFILTER: Final = 12

REQUEST: Final = 0x1
ACK: Final = 0x4
DUMP: Final = 0x300

ERROR: Final = 2
DONE: Final = 3

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF  # without the "nested" and "network byte order" flags
_NESTED: Final = 0x8000


class Message(NamedTuple):
    """One netlink message without its header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    """A message, padded."""
    return _padded(_HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body)


def attribute(kind: int, payload: bytes, *, nested: bool = False) -> bytes:
    """An attribute, padded."""
    return _padded(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind | (_NESTED if nested else 0)) + payload
    )


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram; stops at the first that is cut short."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            return
        yield Message(kind, flags, sequence, datagram[offset + _HEADER.size : offset + length])
        offset += length + 3 & ~3


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Attributes in order, as (type, payload); stops at the first that is cut short."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            return
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type, of a repeated one the last."""
    return dict(each_attribute(data))


def error_of(body: bytes) -> int:
    """The errno in the body of an ERROR (or DONE) message, 0 for an acknowledgement."""
    return -int.from_bytes(body[:4], sys.byteorder, signed=True) if len(body) >= 4 else 0


def request(sock: socket.socket, wire: bytes) -> None:
    """Sends one message with the ACK flag and waits for the acknowledgement. Raises OSError with the kernel's errno."""
    sock.send(wire)
    for answer in messages(sock.recv(65536)):
        if answer.kind == ERROR and (number := error_of(answer.body)):
            raise OSError(number, os.strerror(number))


def dump(sock: socket.socket) -> Iterator[bytes]:
    """The bodies of a dump's messages, after its request was sent. Raises OSError with the kernel's errno."""
    while True:
        for item in messages(sock.recv(1 << 18)):
            if item.kind in (DONE, ERROR):
                if number := error_of(item.body):
                    raise OSError(number, os.strerror(number))
                return
            yield item.body


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
