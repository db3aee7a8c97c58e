"""A packet socket on one interface: sees what comes and goes there, changes nothing (packet(7))."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final, Self

ALL_PROTOCOLS: Final = 3
INCOMING: Final = frozenset({0, 1, 2, 3})  # to this machine, broadcast, multicast, to somebody else
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@ll")
_SOL_PACKET, _STATISTICS = 263, 6


class Tap:
    """Packets of an interface that a filter lets through, from their IP header on.

    Raises OSError: EPERM without CAP_NET_RAW, ENODEV when there is no such interface.
    """

    def __init__(self, interface: str, program: bytes, *, queue: int, stamped: bool = False) -> None:
        """queue: bytes of packets that may wait in the kernel. stamped: `receive` says when each came."""
        self.interface = interface
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # of no protocol: it is deaf yet
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, queue)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, stamped)
            self.narrow(program)
            self._socket.bind((interface, ALL_PROTOCOLS))
        except BaseException:
            self._socket.close()
            raise

    def narrow(self, program: bytes) -> None:
        """Lets another filter decide from now on."""
        code = ctypes.create_string_buffer(program, len(program))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(code))
        )

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_into(self, buffer: memoryview) -> int:
        """Length of the next packet, cut to the buffer. BlockingIOError when none waits."""
        return self._socket.recv_into(buffer)

    def receive(self, limit: int) -> tuple[bytes, bool, float]:
        """The next packet, cut at `limit`, whether it came in here, and when (seconds since 1970).

        Only where `stamped`. BlockingIOError when none waits.
        """
        packet, notes, _, address = self._socket.recvmsg(limit, socket.CMSG_SPACE(_TIMESPEC.size))
        seconds, nanoseconds = _TIMESPEC.unpack_from(notes[0][2])
        return packet, address[2] in INCOMING, seconds + nanoseconds / 1e9

    def dropped(self) -> int:
        """Packets that came too fast for their reader, since the last call."""
        _, drops = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        return int(drops)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
