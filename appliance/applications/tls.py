"""TLS records (RFC 8446, section 5.1), at the beginning of a flow or in the middle of one."""

from __future__ import annotations

from typing import Final

_CHANGE_CIPHER, _ALERT, _HANDSHAKE, _DATA = range(20, 24)
_HELLOS: Final = {1, 2}
_LONGEST: Final = (1 << 14) + 2048
_UPGRADES: Final[dict[str, tuple[bytes, ...]]] = {
    "smtp": (b"STARTTLS\r\n",),
    "imap": (b"STARTTLS\r\n",),
    "nntp": (b"STARTTLS\r\n",),
    "pop3": (b"STLS\r\n",),
    "ftp": (b"AUTH TLS\r\n", b"AUTH SSL\r\n"),
}


def is_tls(client: bytes, server: bytes) -> bool:
    """Whether either direction begins with a TLS record, of a handshake or of data (a flow that was open before)."""
    return _record(client) or _record(server)


def is_asked_for(name: str, client: bytes) -> bool:
    """Whether the client of a protocol that begins plainly has asked to go on in TLS."""
    words = _UPGRADES.get(name, ())
    return bool(words) and any(word in client.upper() for word in words)


def _record(data: bytes) -> bool:
    if len(data) < 6 or data[1] != 3 or data[2] > 4:
        return False
    kind, length = data[0], int.from_bytes(data[3:5], "big")
    if not 0 < length <= _LONGEST:
        return False
    if kind == _HANDSHAKE:
        return data[5] in _HELLOS
    return kind == _DATA and data[2] == 3 and length >= 17
