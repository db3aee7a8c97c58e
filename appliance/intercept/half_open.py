"""Connections that a client has begun and not completed, as the kernel lists them (NETLINK_SOCK_DIAG).

Reference: linux/inet_diag.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Final

from appliance.intercept import netlink
from appliance.intercept.listener import Endpoint

_BY_FAMILY: Final = 20
_SYN_RECV: Final = 3
_REQUEST: Final = struct.Struct("=BBBBI48x")
_ANSWER: Final = struct.Struct("!BBBBHH16s16s")


@dataclass(frozen=True)
class HalfOpen:
    """`again`: how often the kernel has sent its SYN-ACK again."""

    client: Endpoint
    server: Endpoint
    again: int


def half_open() -> list[HalfOpen]:
    """All of this namespace, whoever listens. OSError as it comes; 1 ms, however many connections are open."""
    found = []
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _SYN_RECV)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_SOCK_DIAG) as sock:
            sock.send(netlink.message(_BY_FAMILY, netlink.REQUEST | netlink.DUMP, body))
            for answer in netlink.dump(sock):
                _, _, _, again, near, far, local, remote = _ANSWER.unpack_from(answer)
                ends = (str(ipaddress.ip_address(address[:size])) for address in (remote, local))
                client, server = zip(ends, (far, near), strict=True)
                found.append(HalfOpen(client, server, again))
    return found
