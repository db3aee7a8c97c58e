"""What the kernel knows of the connection to a flow's end host (TCP_INFO, linux/tcp.h)."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

_FIELDS: Final = struct.Struct("=44xI4xI12xI")  # last_data_sent, last_data_recv, rtt
_MS: Final = 1e-3
_US: Final = 1e-6


class EndHost(NamedTuple):
    """Seconds: the smoothed round trip (0 while none was measured), and since bytes went either way."""

    rtt: float
    idle: float


def end_host(sock: socket.socket) -> EndHost:
    """Asks the kernel: one call, about 1 µs. Raises OSError."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FIELDS.size)
    sent, received, rtt = _FIELDS.unpack(info)
    return EndHost(rtt * _US, min(sent, received) * _MS)
