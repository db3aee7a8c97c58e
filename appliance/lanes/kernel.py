"""What the kernel knows of a lane's connection, also while the processes at its ends are busy."""

from __future__ import annotations

import math
import socket
import struct
from typing import NamedTuple

_TCP_INFO = struct.Struct("=56xI8xI")  # of struct tcp_info: tcpi_last_ack_recv (ms), tcpi_rtt (µs)


class KernelView(NamedTuple):
    """When the peer's kernel last answered, on the caller's clock; and TCP's round trip in seconds."""

    heard: float
    rtt: float


def kernel_view(sock: socket.socket, now: float) -> KernelView:
    """Any segment of an open connection counts, also one that only tells of a loss."""
    try:
        last_ack_ms, rtt_us = _TCP_INFO.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        )
    except (OSError, struct.error):
        return KernelView(-math.inf, 0.0)
    return KernelView(now - last_ack_ms / 1000, rtt_us / 1e6)
