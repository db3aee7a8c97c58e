"""Letting go of a connection that is half open: it passes from now on, as if it had never been taken.

Reference: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import Final

from appliance.intercept import marks, netlink
from appliance.intercept.listener import Endpoint
from appliance.intercept.sockets import destroy

_NEW: Final = 1 << 8 | 0
_TUPLE_ORIG, _MARK, _MARK_MASK = 1, 8, 21
_IP, _PROTO = 1, 2
_PROTO_NUM, _PROTO_SRC, _PROTO_DST = 1, 2, 3


def let_go(client: Endpoint, server: Endpoint, reason: int) -> None:
    """Marks the client's connection passed for `reason`, and forgets our half of it without a word.

    OSError as it comes; that conntrack does not know it any more is none."""
    mark, mask = marks.passed(reason), marks.FATE_MASK | marks.REASON_MASK
    ours = (_tuple(client, server), _number(_MARK, mark), _number(_MARK_MASK, mask))
    family = socket.AF_INET if ipaddress.ip_address(server[0]).version == 4 else socket.AF_INET6
    body = struct.pack("!BBH", family, 0, 0) + b"".join(ours)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER) as sock:
        try:
            netlink.request(sock, netlink.message(_NEW, netlink.REQUEST | netlink.ACK, body))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
    destroy(server, client)


def _tuple(client: Endpoint, server: Endpoint) -> bytes:
    source, target = (ipaddress.ip_address(end[0]).packed for end in (client, server))
    kinds = (1, 2) if len(source) == 4 else (3, 4)
    ends = (netlink.attribute(kind, packed) for kind, packed in zip(kinds, (source, target), strict=True))
    ports = (
        netlink.attribute(_PROTO_NUM, bytes((socket.IPPROTO_TCP,))),
        netlink.attribute(_PROTO_SRC, struct.pack("!H", client[1])),
        netlink.attribute(_PROTO_DST, struct.pack("!H", server[1])),
    )
    parts = ((_IP, b"".join(ends)), (_PROTO, b"".join(ports)))
    nested = b"".join(netlink.attribute(kind, part, nested=True) for kind, part in parts)
    return netlink.attribute(_TUPLE_ORIG, nested, nested=True)


def _number(kind: int, value: int) -> bytes:
    return netlink.attribute(kind, struct.pack("!I", value))
