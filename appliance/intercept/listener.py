"""One peer's pair of TPROXY listeners: where its intercepted flows are accepted.

Closing them fails open exactly that peer: the kernel's tproxy rule finds no listener and the SYN goes on.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final, NamedTuple

from appliance.intercept import marks

Endpoint = tuple[str, int]  # address, port

_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_ORDERLY_CLOSE: Final = struct.pack("ii", 0, 0)
_WAITING: Final = struct.Struct("=24xI")  # of struct tcp_info: tcpi_unacked, which is the queue of a listener

# accept() errors that concern one connection, not the listener (accept(2)).
_ONE_CONNECTION: Final = {
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}


class Accepted(NamedTuple):
    """An intercepted flow: the client's connection, non-blocking, and whom the client meant to reach."""

    sock: socket.socket
    client: Endpoint
    server: Endpoint


def make_transparent(sock: socket.socket) -> None:
    """Lets a socket use addresses that are not this box's. Needs CAP_NET_ADMIN."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


def reset_on_close(sock: socket.socket) -> None:
    """From now on closing the socket, also by the death of the process, is an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def close_orderly(sock: socket.socket) -> None:
    """From now on closing the socket is an ordinary close: to be called after the end of file in both directions."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ORDERLY_CLOSE)


class Listener:
    """TPROXY listeners for IPv4 and IPv6 on loopback ports that the kernel chooses."""

    def __init__(self, backlog: int = 4096) -> None:
        self._backlog = backlog
        self._sockets: list[socket.socket] = []
        self.port4: int | None = None
        self.port6: int | None = None

    def open(self) -> tuple[int | None, int | None]:
        """Listens; returns (IPv4 port, IPv6 port), None for a family the box does not have. Raises OSError."""
        if self._sockets:
            raise RuntimeError("this listener is open")
        self.port4 = self._listen(socket.AF_INET, "127.0.0.1")
        self.port6 = self._listen(socket.AF_INET6, "::1")
        return self.port4, self.port6

    def _listen(self, family: socket.AddressFamily, address: str) -> int | None:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return None
            raise
        try:
            make_transparent(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # All of these are inherited by accepted sockets, so also by those that still wait in the
            # queue when the process is killed: their clients see an RST, never a clean end of file.
            reset_on_close(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.NEAR_SOCKET)
            sock.bind((address, 0))
            sock.listen(self._backlog)
        except OSError as error:
            sock.close()
            if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                return None  # IPv6 is switched off on this box
            raise
        self._sockets.append(sock)
        port: int = sock.getsockname()[1]
        return port

    def filenos(self) -> list[int]:
        """Descriptors to poll for reading; empty when closed."""
        return [sock.fileno() for sock in self._sockets]

    def waiting(self) -> int:
        """Flows that the kernel has taken and that have not been accepted."""
        return sum(
            _WAITING.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.size))[0]
            for sock in self._sockets
        )

    def accept(self, limit: int = 64) -> list[Accepted]:
        """Up to `limit` waiting flows of each address family.

        Raises OSError when the process or the box is out of descriptors or memory. The flows then still wait: closing
        the listener resets them and lets new ones pass.
        """
        accepted: list[Accepted] = []
        for listening in self._sockets:
            for _ in range(limit):
                try:
                    sock, client = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _ONE_CONNECTION:
                        continue
                    if accepted:
                        break  # these first; the error comes again
                    raise
                sock.setblocking(False)
                accepted.append(Accepted(sock, client[:2], sock.getsockname()[:2]))
        return accepted

    def close(self) -> None:
        """Stops listening; flows in the queue are reset, accepted ones live on. May be called twice."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self.port4 = self.port6 = None
