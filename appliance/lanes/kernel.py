"""What the kernel knows of a lane's connection, also while the processes at its ends are busy."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from typing import NamedTuple

_TCP_INFO = struct.Struct("=56xI8xI")  # of struct tcp_info: tcpi_last_ack_recv (ms), tcpi_rtt (µs)
# Of the same: tcpi_retransmits, tcpi_snd_mss, tcpi_unacked, tcpi_bytes_acked.
_SENDING = struct.Struct("=2xB13xI4xI92xQ")

_BBR_INFO = struct.Struct("=II")  # of struct tcp_bbr_info: the estimate, bytes/s, its low half first
_TCP_CC_INFO = 26
_CONGESTION_NAME = 16
FORGOTTEN = 0.5  # of what the link has proved to carry
SMALL_MSS = 1220  # bytes; what fits into 1280 of IPv6, which every link must carry
LITTLE = 64 << 10  # bytes acknowledged on a connection on which hardly anything large has arrived
AGAIN = 2  # times that the same was sent again


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


def large_ones_lost(sock: socket.socket) -> bool:
    """Whether the way seems to swallow large packets: the same is sent again and again, and never much arrived.

    A router that may not say "too big" does that, or one whose word is dropped by a firewall.
    """
    try:
        again, mss, unacked, acked = _SENDING.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SENDING.size)
        )
    except (OSError, struct.error):
        return False
    return bool(again >= AGAIN and mss > SMALL_MSS and unacked and acked < LITTLE)


def send_small(sock: socket.socket) -> None:
    """Before it connects: neither end sends packets of more than 1280 bytes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_MSS)


def measure_anew(sock: socket.socket, proved: float) -> None:
    """Makes BBR start over, for a connection that was quiet and now has much to send, if it has forgotten the link.

    What it measures while a loss is being repaired counts in full, also when there was hardly anything to send: a quiet
    connection over a lossy line soon believes in a trickle, which then grows by a quarter in eight round trips.
    `proved` is what the link has carried before, bytes per second.
    """
    with contextlib.suppress(OSError, struct.error):
        if (
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _CONGESTION_NAME).rstrip(b"\0")
            != b"bbr"
        ):
            return
        low, high = _BBR_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, _TCP_CC_INFO, _BBR_INFO.size))
        if (high << 32 | low) < FORGOTTEN * proved:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
