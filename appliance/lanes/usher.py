"""Where several data processes share an address to listen at: each lane goes to the process that has its peer.

Whoever has accepted a connection looks at its first bytes without taking them, and passes the socket on. TLS begins in
the process that keeps the lane.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance.lanes import hint
from appliance.lanes.lane import HANDSHAKE_S
from appliance.loop import READ, Loop, Timer
from appliance.spread import Part, parts

AGAIN_S = 0.02  # between two tries to hand a lane over to a process whose queue is full,
PATIENCE_S = 2.0  # and for how long
_LONGEST_ADDRESS = 256
_INT = struct.calcsize("i")


class Usher:
    """`whose(name)` is the number of the process that has the peer with that hint, 0 if none has;
    `admit(sock, host, remote)` takes a connection that is for this process, `refuse(host, reason)` tells of another."""

    def __init__(
        self,
        loop: Loop,
        part: Part,
        run_dir: Path,
        whose: Callable[[str], int],
        admit: Callable[[socket.socket, str, str], None],
        refuse: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._part = part
        self._boxes = {other.number: str(run_dir / other.inbox) for other in parts(part.of)}
        self._whose = whose
        self._admit = admit
        self._refuse = refuse
        self._waiting: dict[socket.socket, tuple[str, str, Timer]] = {}
        self._inbox = _bound(self._boxes[part.number])
        loop.register(self._inbox.fileno(), READ, self._arrived)

    def waiting(self) -> list[str]:
        """Addresses of those that have not said yet who they are."""
        return [host for host, _, _ in self._waiting.values()]

    def ask(self, sock: socket.socket, host: str, remote: str) -> None:
        """Sends a new connection where it belongs, as soon as it says where that is."""
        timer = self._loop.call_later(HANDSHAKE_S, lambda: self._lost(sock, "it says nothing"))
        self._waiting[sock] = host, remote, timer
        sock.setblocking(False)
        # RDHUP too: to who has hung up, what is there to be peeked at would look the same for ever.
        self._loop.register(sock.fileno(), READ | select.EPOLLRDHUP, lambda events: self._look(sock, events))

    def close(self) -> None:
        for sock in list(self._waiting):
            self._forget(sock)
            sock.close()
        self._loop.unregister(self._inbox.fileno())
        self._inbox.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._boxes[self._part.number])

    def _look(self, sock: socket.socket, events: int) -> None:
        try:
            seen = sock.recv(hint.RECORD + hint.LONGEST, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(sock, error.strerror or str(error))
            return
        if not seen:
            self._lost(sock, "it has hung up")
            return
        needed = hint.needed(seen)
        if len(seen) < needed:
            if events & (select.EPOLLRDHUP | select.EPOLLHUP):
                self._lost(sock, "it has hung up")
                return
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)  # wakes us no sooner
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        host, remote = self._forget(sock)
        number = self._whose(hint.read(seen))
        if number in (0, self._part.number):
            self._admit(sock, host, remote)  # a stranger is no worse here than elsewhere
        else:
            self._pass_on(sock, number, host, remote, self._loop.now + PATIENCE_S)

    def _pass_on(self, sock: socket.socket, number: int, host: str, remote: str, end: float) -> None:
        try:
            # Not socket.send_fds, which forgets flags and address.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", sock.fileno()))
            self._inbox.sendmsg([remote.encode()], [rights], 0, self._boxes[number])
        except OSError as error:
            if isinstance(error, BlockingIOError) and self._loop.now < end:
                again = partial(self._pass_on, sock, number, host, remote, end)
                self._loop.call_later(AGAIN_S, again)  # many come at once
                return
            text = f"data process {number}, which has its peer, does not take it: {error.strerror}"
            self._refuse(host, text)
        sock.close()  # the other process has its own descriptor of it

    def _arrived(self, _events: int) -> None:
        while True:
            try:
                data, control, _, _ = self._inbox.recvmsg(
                    _LONGEST_ADDRESS, socket.CMSG_SPACE(_INT), socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                return
            for level, kind, content in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS) and len(content) == _INT:
                    remote = data.decode("ascii", "replace")
                    sock = socket.socket(fileno=struct.unpack("i", content)[0])
                    sock.setblocking(False)
                    self._admit(sock, remote.split()[0], remote)

    def _lost(self, sock: socket.socket, reason: str) -> None:
        host, _ = self._forget(sock)
        sock.close()
        self._refuse(host, reason)

    def _forget(self, sock: socket.socket) -> tuple[str, str]:
        host, remote, timer = self._waiting.pop(sock)
        timer.cancel()
        self._loop.unregister(sock.fileno())
        return host, remote


def _bound(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a process that was killed
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    old = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(old)
    return sock
