"""One TLS connection to a peer: bytes in, frames out, and a short queue of its own.

The queue in the kernel is kept small (TCP_NOTSENT_LOWAT), so that what waits, waits here, where an urgent frame
can still choose its place and the codec can see that the link is the bottleneck.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
import ssl
import struct
import sys
import traceback
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol

from appliance.lanes.frames import Address, FrameReader, ProtocolError, parse
from appliance.lanes.kernel import SMALL_MSS, KernelView, kernel_view, large_ones_lost, measure_anew
from appliance.lanes.link import Role
from appliance.loop import READ, Loop, Timer, mask

HANDSHAKE_S = 5.0
RECORD = 16 * 1024  # the most that one TLS record carries
CHUNK = 4 * RECORD  # given to TLS in one call
UNSENT_S = 0.02  # of the link's time may lie in the kernel and not be sent yet,
LEAST_UNSENT = 8 * 1024  # which is so many bytes
MOST_UNSENT = 64 * 1024  # to so many
READING_S = 0.02  # taken from one lane in a round before others have their turn
MEASURE_S = 0.05
SURE = 20  # measurements that tell what a link can carry; TCP begins slowly
FADE = 0.995  # what it once carried counts less with each that comes after
RECENT_S = 0.5  # how long a link that was the bottleneck is taken to be it still
QUIET_S = 0.5  # without being blocked, after which TCP's idea of the link may be that of a trickle
LOW_WATER = 64 * 1024  # a backlog below it asks the sender for more

KEY_REFUSED = "key: the other side does not accept this box's key"
_NO_LINGER = struct.pack("ii", 1, 0)

_WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Owner(Protocol):
    """Who is told what happens on a lane."""

    def lane_secure(self, lane: Lane, /) -> None: ...

    def lane_frame(self, lane: Lane, kind: int, body: bytes, /) -> None: ...

    def lane_drained(self, lane: Lane, /) -> None: ...

    def lane_lost(self, lane: Lane, reason: str, /) -> None: ...

    def lane_faulty(self, lane: Lane, reason: str, /) -> None: ...


class Lane:
    """Begins with a TCP connection (perhaps still in progress); `lane_lost` is called exactly once, at its end."""

    tap: ClassVar[Callable[[Lane, bool, int, bytes], None] | None] = None
    """While somebody captures: told of every frame of every lane, whether it is sent, its kind and body."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        context: ssl.SSLContext,
        owner: Owner,
        *,
        dialler: bool,
        remote: str,
    ) -> None:
        self.owner = owner
        self.remote = remote
        self.dialler = dialler
        self.role: Role | None = None  # set by the HELLO
        self.path = ""  # the same
        self.greeted = False  # HELLOs have been exchanged
        self.pinged = -math.inf  # when the last PING was sent
        self.unanswered = math.inf  # when the first one was that nothing has followed
        self.bytes_in = 0
        self.bytes_out = 0
        self.backlog = 0  # bytes given to `send` that the kernel has not taken
        self.blocked = False  # the kernel takes no more for now
        self.blocked_at = -math.inf  # when it was seen for the last time that this is, or had been, so
        self.drain_rate = (
            0.0  # bytes per second that the link took of late while it was the bottleneck; 0: not known
        )
        self.pace = math.inf  # bytes per second under which it is held
        self._best = 0.0  # of the measured rates, the oldest counting least
        self._measured = 0
        self._unsent = MOST_UNSENT
        self.began = loop.now
        self.large_at = -math.inf  # when it last sent more than fits into a small packet
        self.heard = loop.now  # when the peer last said something
        self.taken_at = loop.now  # when the link last took something that had waited for it
        self.error = 0  # errno of a connection that could not be made, or that broke
        self.closed = False
        self.rider: Callable[[Lane], list[bytes]] | None = (
            None  # asked for frames that ride along with others
        )
        self.certificate = b""
        self._loop = loop
        self._context = context
        self._tcp = sock
        self._tls: ssl.SSLSocket | None = None
        self._fd = sock.fileno()
        self._secure = False
        self._paused = False
        self._stall = (0.0, 0)  # when the lane was blocked, and what it had sent by then
        self._out: deque[bytes] = deque()
        self._pending: memoryview | None = None
        self._flushing = False
        self._reading = False  # at the end of this round
        self._waiting: Timer | None = None
        self._frames = FrameReader()
        self._handshake_timer = loop.call_later(HANDSHAKE_S, self._too_slow)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, MOST_UNSENT)
        loop.register(self._fd, mask(not dialler, dialler), self._handshake)

    def send(self, frame: bytes, *, patience: float = 0.0) -> None:
        """Queues a frame; everything queued in one round leaves together.

        A frame with patience waits so many seconds for company, because alone it costs more in headers than in itself.
        """
        if Lane.tap is not None:
            Lane.tap(self, True, *parse(frame))
        self._out.append(frame)
        self.backlog += len(frame)
        if self._flushing:
            return
        if patience and self.backlog < RECORD:
            if self._waiting is None or self._waiting.due > self._loop.now + patience:
                self._stop_waiting()
                self._waiting = self._loop.call_later(patience, self._flush)
            return
        self._flushing = True
        self._loop.at_end(self._flush)

    def nudge(self) -> None:
        """Asks the rider at the end of this round, also when nothing else leaves."""
        if not self._flushing and not self.closed:
            self._flushing = True
            self._loop.at_end(self._flush)

    def accept_frames(self, limit: int) -> None:
        """Raises the limit for one frame once the peer has introduced itself."""
        self._frames.limit = limit

    def shape(self, priority: int, rate: int) -> None:
        """Gives all it sends a class (SO_PRIORITY), and holds it under `rate`, bytes/s; 0: as fast as it goes."""
        if self.closed:
            return
        pace = (rate or _NO_RATE).to_bytes(8, sys.byteorder)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, pace)
        self.pace = rate or math.inf
        self._keep_short()
        with contextlib.suppress(PermissionError):  # without the right to it nothing is shaped either
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)

    @property
    def bottleneck(self) -> float:
        """Bytes per second that the link takes while it is what everything waits for, or was of late; else infinite."""
        waited = self.blocked or self._loop.now - self.blocked_at < RECENT_S
        return self.drain_rate if waited and self.drain_rate else math.inf

    @property
    def carries(self) -> float:
        """The most it has carried of late, bytes per second; infinite while that is not known.

        Not what it carries now: who makes the queue fit that, and is late himself once, has made the link slower.
        """
        return min(self._best if self._measured >= SURE else math.inf, self.pace)

    @property
    def connected(self) -> bool:
        """The peer's host has answered."""
        return self._tls is not None

    def kernel_view(self) -> KernelView:
        return kernel_view(self._socket, self._loop.clock())

    @property
    def large_ones_lost(self) -> bool:
        """Its large packets seem not to arrive."""
        return not self.closed and large_ones_lost(self._socket)

    def pause(self, paused: bool) -> None:
        """Stops reading (the peer is slowed down by TCP) or goes on."""
        if paused != self._paused and not self.closed and self._secure:
            self._paused = paused
            self._loop.modify(self._fd, mask(not paused, self.blocked))
            if not paused:
                self._read_soon()

    @property
    def ends(self) -> tuple[Address, Address]:
        """This box's end of the connection and the other one. OSError when it is broken."""
        return self._socket.getsockname()[:2], self._socket.getpeername()[:2]

    @property
    def _socket(self) -> socket.socket:
        """ssl takes the descriptor of the socket that it wraps."""
        return self._tls or self._tcp

    def abandon(self, reason: str) -> None:
        """Ends the lane without a word to its owner; what is queued here and in the kernel is not sent."""
        self._out.clear()
        self._pending = None
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.close(reason, tell=False)

    def close(self, reason: str, *, tell: bool = True) -> None:
        """Ends the lane at once; `tell=False` when its owner already knows."""
        if self.closed:
            return
        self.closed = True
        self._handshake_timer.cancel()
        self._stop_waiting()
        self._loop.unregister(self._fd)
        if self._tls is not None and self._secure and not self.blocked:
            with contextlib.suppress(OSError):
                self._tls.setblocking(False)
                while self._fill():
                    self._tls.send(self._pending or b"")
                    self._pending = None
        self._socket.close()
        self._out.clear()
        self._pending = None
        self.backlog = 0
        if tell:
            self.owner.lane_lost(self, reason)

    def _too_slow(self) -> None:
        self.close(f"no TLS session with {self.remote} within {HANDSHAKE_S:.0f} s")

    def _handshake(self, _events: int) -> None:
        try:
            if self._tls is None:
                if error_number := self._tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error_number, os.strerror(error_number))
                # If the other side is gone already, ssl closes the socket itself: epoll must have let go of it.
                self._loop.unregister(self._fd)
                self._tls = self._context.wrap_socket(
                    self._tcp, server_side=not self.dialler, do_handshake_on_connect=False
                )
                self._loop.register(self._fd, READ, self._handshake)
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.modify(self._fd, READ)
            return
        except ssl.SSLWantWriteError:
            self._loop.modify(self._fd, select.EPOLLOUT)
            return
        except OSError as error:
            self._broke(error)
            return
        except ValueError as error:
            self.close(_tls_reason(error))
            return
        self._handshake_timer.cancel()
        self._secure = True
        self.certificate = self._tls.getpeercert(binary_form=True) or b""
        self._loop.unregister(self._fd)
        self._loop.register(self._fd, READ, self._ready)
        self.owner.lane_secure(self)
        if not self.closed:
            self._read()

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT and not self.closed:
            if self._paused:
                if events & (select.EPOLLERR | select.EPOLLHUP):
                    self.close("the connection broke")
                return
            self._read()

    def _read_soon(self) -> None:
        """At the end of this round, once."""
        if not self._reading:
            self._reading = True
            self._loop.at_end(self._read_on)

    def _read_on(self) -> None:
        self._reading = False
        self._read()

    def _read(self) -> None:
        tls, reader = self._tls, self._frames
        if self.closed or tls is None or self._paused:
            return
        try:
            going_on = self._hand_over(0)  # what a pause or the end of a turn has left comes first
            while going_on:
                count = tls.recv_into(reader.space())
                if not count:
                    self.error = errno.ECONNRESET
                    self.close("the peer closed the connection")
                    return
                self.bytes_in += count
                self.heard = self._loop.now
                going_on = self._hand_over(count)
                if going_on and count < RECORD and not tls.pending():
                    return  # epoll tells of more; asking the socket again would mostly be in vain
        except _WAIT:
            return
        except ProtocolError as error:
            self.owner.lane_faulty(self, str(error))
            return
        except OSError as error:
            self._broke(error)
            return
        except Exception as error:  # noqa: BLE001 - one peer's frames must not end the flows of all others
            traceback.print_exc()
            self.owner.lane_faulty(self, f"internal error, please report it: {error!r}")
            return
        # Frames may wait here, and records inside TLS, where epoll cannot see them.
        self._read_soon()

    def _hand_over(self, count: int) -> bool:
        """Tells the owner of the frames that `count` more bytes complete; False when it has had enough for now.

        A frame of few bytes may be much work: neither a pause nor the turns of others wait for all that came with it.
        """
        for kind, body in self._frames.received(count):
            if Lane.tap is not None:
                Lane.tap(self, False, kind, body)
            self.owner.lane_frame(self, kind, body)
            if self.closed or self._paused or self._loop.clock() - self._loop.now >= READING_S:
                return False
        return True

    def _broke(self, error: OSError) -> None:
        self.error = errno.ECONNRESET if isinstance(error, ssl.SSLEOFError) else error.errno or 0
        self.close(_tls_reason(error))

    def _fill(self) -> bool:
        """Makes the next chunk of what is queued; small frames share a record."""
        if self._pending is not None:
            return True
        out = self._out
        if not out:
            return False
        chunk = out.popleft()
        if out and len(chunk) < CHUNK:
            parts, size = [chunk], len(chunk)
            while out and size < CHUNK:
                size += len(out[0])
                parts.append(out.popleft())
            chunk = b"".join(parts)
        self._pending = memoryview(chunk)
        return True

    def _flush(self) -> None:
        self._flushing = False
        self._stop_waiting()
        if self.closed or not self._secure or self._tls is None:
            return
        for frame in self.rider(self) if self.rider is not None else ():
            if Lane.tap is not None:
                Lane.tap(self, True, *parse(frame))
            self._out.append(frame)
            self.backlog += len(frame)
        blocked = False
        try:
            while self._fill():
                pending = self._pending
                assert pending is not None
                count = self._tls.send(pending)
                self.bytes_out += count
                self.backlog -= count
                if count > SMALL_MSS:
                    self.large_at = self._loop.now
                self._pending = pending[count:] if count < len(pending) else None
        except _WAIT:
            blocked = True
        except OSError as error:
            self._broke(error)
            return
        if blocked or self.blocked:
            self._learn(blocked)
            if blocked != self.blocked:
                self.blocked = blocked
                self._loop.modify(self._fd, mask(not self._paused, blocked))
        if self.backlog <= LOW_WATER:
            self.owner.lane_drained(self)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _learn(self, blocked: bool) -> None:
        """Measures the link while, and only while, it is what everything waits for."""
        now = self._loop.now
        if self.blocked:
            self.taken_at = now
            began, sent = self._stall
            if now - began >= MEASURE_S:
                rate = (self.bytes_out - sent) / (now - began)
                self.drain_rate = rate if not self.drain_rate else (self.drain_rate + rate) / 2
                self._best, self._measured = max(rate, FADE * self._best), self._measured + 1
                self._keep_short()
                self._stall = (now, self.bytes_out)
        elif blocked:
            self._stall = (now, self.bytes_out)
            if now - self.blocked_at > QUIET_S:
                measure_anew(self._socket, self.drain_rate)
        self.blocked_at = now

    def _keep_short(self) -> None:
        """What lies in the kernel keeps its place in the queue: of a slow link that is less."""
        wanted = min(max(UNSENT_S * self.carries, LEAST_UNSENT), MOST_UNSENT)
        unsent = 1 << round(math.log2(wanted))
        if unsent != self._unsent:
            self._unsent = unsent
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, unsent)


_TCP_NOTSENT_LOWAT = 25
_SO_MAX_PACING_RATE = 47
_NO_RATE = 2**64 - 1


def _tls_reason(error: Exception) -> str:
    """What went wrong, for a person: OpenSSL's words say little of pinned keys."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "key: the other side's key is not one that is pinned here"
    text = str(error)
    if (
        "UNKNOWN_CA" in text
        or "BAD_CERTIFICATE" in text
        or "CERTIFICATE_UNKNOWN" in text
        or "CERTIFICATE_REQUIRED" in text
    ):
        return KEY_REFUSED
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or text}"
    return error.strerror or text if isinstance(error, OSError) else text
