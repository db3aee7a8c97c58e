"""DSCP marks: how end hosts and administrators say what is urgent and what can wait (RFC 2474, 4594, 8622)."""

from __future__ import annotations

import socket
import struct
from typing import Final, Literal

Mark = Literal[
    "cs0", "le", "cs1", "af11", "af12", "af13", "cs2", "af21", "af22", "af23", "cs3",
    "af31", "af32", "af33", "cs4", "af41", "af42", "af43", "cs5", "ef", "cs6", "cs7",
]  # fmt: skip
NUMBERS: Final[dict[Mark, int]] = {
    "cs0": 0, "le": 1, "cs1": 8, "af11": 10, "af12": 12, "af13": 14, "cs2": 16, "af21": 18, "af22": 20, "af23": 22,
    "cs3": 24, "af31": 26, "af32": 28, "af33": 30, "cs4": 32, "af41": 34, "af42": 36, "af43": 38, "cs5": 40, "ef": 46,
    "cs6": 48, "cs7": 56,
}  # fmt: skip
URGENT: Final[tuple[Mark, ...]] = (
    "cs4",
    "af41",
    "af42",
    "af43",
    "cs5",
    "ef",
    "cs6",
    "cs7",
)  # voice, video, network
PATIENT: Final[tuple[Mark, ...]] = ("le", "cs1")  # backups and the like
SHARE: Final = 8.0  # of an urgent flow beside a usual one, and of a usual one beside a patient one

_URGENT: Final = frozenset(NUMBERS[mark] for mark in URGENT)
_PATIENT: Final = frozenset(NUMBERS[mark] for mark in PATIENT)
_IP_RECVTOS, _IP_PKTOPTIONS = 13, 9
_IPV6_RECVTCLASS, _IPV6_2292PKTOPTIONS = 66, 6
_CONTROL: Final = struct.Struct("=Qiii")  # of struct cmsghdr: its length, level and type; then the value


def weight(dscp: int) -> float:
    """The share of a flow with that mark, beside 1 for one without."""
    return SHARE if dscp in _URGENT else 1 / SHARE if dscp in _PATIENT else 1.0


def read(sock: socket.socket) -> int:
    """The mark of the packet that ended an accepted connection's handshake. Raises OSError."""
    if sock.family == socket.AF_INET6:
        level, wanted, options = socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, _IPV6_2292PKTOPTIONS
    else:
        level, wanted, options = socket.IPPROTO_IP, _IP_RECVTOS, _IP_PKTOPTIONS
    sock.setsockopt(level, wanted, 1)
    told = sock.getsockopt(level, options, 64)
    sock.setsockopt(level, wanted, 0)  # the kernel would keep a copy of every packet's head
    return _CONTROL.unpack_from(told)[3] >> 2 if len(told) >= _CONTROL.size else 0


def write(sock: socket.socket, dscp: int) -> None:
    """Marks what the socket sends from now on."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
