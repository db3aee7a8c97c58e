"""Routing netlink: what control asks the kernel about policy routes and shapers, and has it change.

Hand-made like `intercept.netlink`: a dozen messages, the dumps among them every other second for as long as the box
runs. Reference: linux/rtnetlink.h.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from appliance.intercept import netlink

CREATE: Final = 0x400
EXCLUSIVE: Final = 0x200
REPLACE: Final = 0x100

_SOL_NETLINK, _STRICT = 270, 12  # NETLINK_GET_STRICT_CHK


def change(kind: int, body: bytes, flags: int = 0) -> None:
    """One message that changes something. Raises OSError with the kernel's errno."""
    with _kernel() as sock:
        netlink.request(sock, netlink.message(kind, netlink.REQUEST | netlink.ACK | flags, body))


def dump(kind: int, body: bytes) -> list[bytes]:
    """The bodies of what there is. Raises OSError with the kernel's errno."""
    with _kernel() as sock:
        sock.send(netlink.message(kind, netlink.REQUEST | netlink.DUMP, body))
        return list(netlink.dump(sock))


def _kernel() -> socket.socket:
    """Of this thread's network namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with contextlib.suppress(OSError):  # without, a dump of routes is of all tables
        sock.setsockopt(_SOL_NETLINK, _STRICT, 1)
    return sock
