"""Elements of nftables sets as netlink messages, for what happens per flow and per heartbeat.

libnftables reads every chain of the table back before it runs a command: half a millisecond on a branch, 20 to 60 on
a hub with 500 peers. These take a fraction of that on either. Keys are in the kernel's own form.
Reference: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from appliance.intercept import netlink

_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_NEW, _GET, _DELETE = (_SUBSYSTEM << 8 | kind for kind in (12, 13, 14))
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT: Final = 1
_KEY, _TIMEOUT, _EXPIRATION = 1, 4, 5
_VALUE: Final = 1
_INET: Final = 1  # NFPROTO_INET
_CREATE: Final = 0x400
_MOST_IN_ONE: Final = 1000  # elements in one message, whose list has a 16-bit length


class Element(NamedTuple):
    """A key, and in how many seconds it expires (None: as the set says)."""

    key: bytes
    seconds: float | None = None


def interface(name: str) -> bytes:
    """Key of a set of type ifname."""
    return name.encode().ljust(16, b"\0")


def destination(address: str, port: int) -> bytes:
    """Key of a set of type address . inet_service."""
    return ipaddress.ip_address(address).packed + struct.pack("!H2x", port)


def host(address: str) -> bytes:
    """Key of a set of type address."""
    return ipaddress.ip_address(address).packed


def destination_of(key: bytes) -> tuple[str, int]:
    """The address and port of such a key."""
    return str(ipaddress.ip_address(key[:-4])), int.from_bytes(key[-4:-2], "big")


def flush(table: str, name: str) -> list[bytes]:
    """Empties a set."""
    return [_message(_DELETE, table, name, b"", 0)]


def add(table: str, name: str, elements: Iterable[Element]) -> list[bytes]:
    """Adds to a set; an element that is there stays as it is."""
    return [_message(_NEW, table, name, part, _CREATE) for part in _parts(elements)]


def delete(table: str, name: str, keys: Iterable[bytes]) -> list[bytes]:
    """Removes from a set. The whole batch fails with ENOENT when one is not there."""
    return [_message(_DELETE, table, name, part, 0) for part in _parts(Element(key) for key in keys)]


def commit(sock: socket.socket, changes: Iterable[bytes]) -> None:
    """Applies all changes or none. Raises OSError with the kernel's errno: ENOENT for a missing table, set or element,
    ENFILE for a full set, EPERM when another socket owns the table."""
    control = struct.pack("!BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)
    begin = netlink.message(_BATCH_BEGIN, netlink.REQUEST, control)
    end = netlink.message(_BATCH_END, netlink.REQUEST, control)
    sock.send(b"".join((begin, *changes, end)))
    failed = 0
    while True:  # the kernel has answered by the time send() returns
        try:
            answer = sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
        for item in netlink.messages(answer):
            if item.kind == netlink.ERROR:
                failed = failed or netlink.error_of(item.body)
    if failed:
        raise OSError(failed, os.strerror(failed))


def listed(table: str, name: str) -> Iterator[Element]:
    """The elements of a set, read on a socket of its own. Raises OSError (ENOENT)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER) as sock:
        sock.send(_message(_GET, table, name, b"", netlink.DUMP))
        for body in netlink.dump(sock):
            for kind, value in netlink.each_attribute(body[4:]):
                if kind == _ELEMENTS:
                    yield from (_element(item) for _, item in netlink.each_attribute(value))


def _element(item: bytes) -> Element:
    fields = netlink.attributes(item)
    expires = fields.get(_EXPIRATION)
    key = netlink.attributes(fields[_KEY])[_VALUE]
    return Element(key, int.from_bytes(expires, "big") / 1000 if expires else None)


def _parts(elements: Iterable[Element]) -> Iterator[bytes]:
    wires = []
    for element in elements:
        wire = netlink.attribute(_KEY, netlink.attribute(_VALUE, element.key), nested=True)
        if element.seconds is not None:
            milliseconds = max(1, round(element.seconds * 1000))
            wire += netlink.attribute(_TIMEOUT, milliseconds.to_bytes(8, "big"))
        wires.append(netlink.attribute(_ELEMENT, wire, nested=True))
    for start in range(0, len(wires), _MOST_IN_ONE):
        yield netlink.attribute(_ELEMENTS, b"".join(wires[start : start + _MOST_IN_ONE]), nested=True)


def _message(kind: int, table: str, name: str, elements: bytes, flags: int) -> bytes:
    body = struct.pack("!BBH", _INET, 0, 0)
    body += netlink.attribute(_TABLE, table.encode() + b"\0") + netlink.attribute(_SET, name.encode() + b"\0")
    return netlink.message(kind, netlink.REQUEST | flags, body + elements)
