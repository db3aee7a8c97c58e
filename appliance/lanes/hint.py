"""Who is coming, as far as it can be known before the TLS handshake: the name in the ClientHello.

A box that dials puts a salted digest of its certificate where a browser puts the server's name (RFC 6066). Certificates
cross the WAN encrypted, so whoever has it finds it in the digest, and nobody else can tell two lanes of a box from
two boxes. It proves nothing: the handshake does.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

RECORD: Final = 5  # bytes before a TLS record, of which the last two are its length
LONGEST: Final = 16 * 1024
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_SALT, _DIGEST = 8, 16


def make(certificate: bytes) -> str:
    """A name for a lane of the box with that certificate (DER); another one each time."""
    salt = os.urandom(_SALT)
    return f"b{salt.hex()}.{_digest(salt, certificate)}"


def meant(name: str, certificate: bytes) -> bool:
    """Whether the name was made of that certificate."""
    salt, _, digest = name.removeprefix("b").partition(".")
    try:
        return digest == _digest(bytes.fromhex(salt), certificate)
    except ValueError:
        return False


def _digest(salt: bytes, certificate: bytes) -> str:
    return hashlib.blake2b(certificate, salt=salt[:16], digest_size=_DIGEST).hexdigest()


def needed(data: bytes) -> int:
    """How many bytes have to be there before `read` can say something, given those that are."""
    if len(data) < RECORD:
        return RECORD
    return RECORD + min(int.from_bytes(data[3:RECORD], "big"), LONGEST)


def read(data: bytes) -> str:
    """The name in a ClientHello; "" if there is none, or if it is none."""
    try:
        return _name(data)
    except IndexError:
        return ""


class _Reader:
    """Takes vectors of TLS apart (RFC 8446, 3.4). IndexError where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise IndexError
        self._at += count
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))


def _name(data: bytes) -> str:
    record = _Reader(data)
    if record.number(1) != _HANDSHAKE:
        return ""
    record.take(2)
    handshake = record.vector(2)
    if handshake.number(1) != _CLIENT_HELLO:
        return ""
    hello = handshake.vector(3)
    hello.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session, cipher suites, compression
        hello.vector(size)
    extensions = hello.vector(2)
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names = content.vector(2)
            if names.number(1) == _HOST_NAME:
                return names.take(names.number(2)).decode("ascii", "replace")
    return ""
