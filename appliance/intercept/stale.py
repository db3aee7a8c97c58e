"""Stale tuples: the far side's connections whose client came back past its own box.

The kernel has already let the client through (chain `stale`); what is left to do is to end our socket, which
would otherwise retransmit in vain until its time is over. The news comes through an NFLOG group.
Reference: linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import Final, NamedTuple

from appliance.intercept import marks, netlink
from appliance.intercept.listener import Endpoint
from appliance.intercept.sockets import destroy

_ULOG: Final = 4 << 8
_PACKET: Final = _ULOG | 0
_CONFIG: Final = _ULOG | 1
_PAYLOAD: Final = 9
_CFG_CMD, _CFG_MODE, _CFG_QTHRESH = 1, 2, 5
_BIND: Final = 1
_COPY_PACKET: Final = 2
_SNAP: Final = 128
# IPv6 extension headers that may stand before TCP: hop-by-hop, routing, destination options.
_EXTENSIONS: Final = {0, 43, 60}


class Tuple(NamedTuple):
    """One TCP connection by its ends."""

    client: Endpoint
    server: Endpoint


def tuple_of(packet: bytes) -> Tuple | None:
    """The ends of a TCP packet that begins at its IP header; None when it is not one or is cut short."""
    if not packet:
        return None
    if packet[0] >> 4 == 4 and len(packet) >= 20:
        source, target, protocol, offset = packet[12:16], packet[16:20], packet[9], (packet[0] & 15) * 4
        if offset < 20:
            return None
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        source, target, protocol, offset = packet[8:24], packet[24:40], packet[6], 40
        while protocol in _EXTENSIONS:
            if len(packet) < offset + 2:
                return None
            protocol, offset = packet[offset], offset + (packet[offset + 1] + 1) * 8
    else:
        return None
    if protocol != socket.IPPROTO_TCP or len(packet) < offset + 4:
        return None
    ports = struct.unpack_from("!HH", packet, offset)
    ends = (str(ipaddress.ip_address(address)) for address in (source, target))
    client, server = zip(ends, ports, strict=True)
    return Tuple(client, server)


class StaleTuples:
    """Reader of the log group. Poll fileno() for reading, then read() and destroy() each.

    Raises OSError: EPERM when the group has another reader or the process lacks CAP_NET_ADMIN.
    """

    def __init__(self, part: int = 1) -> None:
        """`part`: number of the data process, each of which has a group of its own."""
        self._group = marks.STALE_GROUP + part - 1
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER)
        self.lost = 0
        """How often the kernel had to drop news because nobody read."""
        try:
            self._configure(_CFG_CMD, bytes([_BIND]))
            self._configure(_CFG_MODE, struct.pack("!IBx", _SNAP, _COPY_PACKET))
            self._configure(_CFG_QTHRESH, struct.pack("!I", 1))
            self._sock.setblocking(False)
        except OSError:
            self._sock.close()
            raise

    def _configure(self, kind: int, value: bytes) -> None:
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, self._group) + netlink.attribute(kind, value)
        netlink.request(self._sock, netlink.message(_CONFIG, netlink.REQUEST | netlink.ACK, body))

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self) -> list[Tuple]:
        """The tuples that came since the last call; never blocks."""
        found: list[Tuple] = []
        while True:
            try:
                datagram = self._sock.recv(65536)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
                continue
            for item in netlink.messages(datagram):
                if item.kind == _PACKET:
                    parsed = tuple_of(netlink.attributes(item.body[4:]).get(_PAYLOAD, b""))
                    if parsed is not None:
                        found.append(parsed)

    def destroy(self, stale: Tuple) -> bool:
        """Ends the box's own connection of that tuple, without a word to the server: the out chain drops what it says.
        False when there was none. Its holder sees ECONNABORTED."""
        return destroy(stale.client, stale.server)

    def close(self) -> None:
        self._sock.close()
