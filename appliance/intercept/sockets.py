"""Ending a connection of this box by its addresses alone (NETLINK_SOCK_DIAG, SOCK_DESTROY).

It needs no map of sockets and ends TIME_WAIT as well; whoever holds the socket sees ECONNABORTED.
Reference: linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import Final

from appliance.intercept import netlink
from appliance.intercept.listener import Endpoint

_SOCK_DESTROY: Final = 21
_ANY_STATE: Final = 0xFFFFFFFF
_NO_COOKIE: Final = b"\xff" * 8


def destroy(local: Endpoint, remote: Endpoint) -> bool:
    """Ends the TCP connection of this tuple. False when there is none. Raises OSError: EPERM without CAP_NET_ADMIN,
    EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY."""
    near, far = ipaddress.ip_address(local[0]), ipaddress.ip_address(remote[0])
    family = socket.AF_INET if near.version == 4 else socket.AF_INET6
    identity = struct.pack("!HH16s16s", local[1], remote[1], near.packed, far.packed) + bytes(4) + _NO_COOKIE
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE) + identity
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_SOCK_DIAG) as sock:
        try:
            netlink.request(sock, netlink.message(_SOCK_DESTROY, netlink.REQUEST | netlink.ACK, body))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
    return True
