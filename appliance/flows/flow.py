"""One intercepted TCP flow: its LAN socket on one side, a stream on the other.

Both boxes run the same class: the branch's flow begins with an accepted socket, the far box's with a
connection in progress. A flow ends in one of two ways: both directions reached their FIN, or a RST to the end
host. SO_LINGER (1,0) is set from the start, so that the kernel says RST even if this process is killed; only an
orderly end lifts it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections import deque
from typing import Protocol

from appliance import marking
from appliance.applications import Application, Opening
from appliance.flows.buffers import Share
from appliance.flows.end_host import EndHost, end_host
from appliance.flows.stream import ReceiveHalf, SendHalf
from appliance.intercept import close_orderly, reset_on_close
from appliance.lanes.frames import FIN, MAX_MESSAGE, Address
from appliance.loop import READ, WRITE, Loop

OVERTAKING = 256  # messages that may be ahead of a block; the receiver has to keep them all
QUIET_S = 0.05  # a pause that begins a new turn
READY_BLOCKS = 2  # full buffers that may wait for the encoder
READS = 4  # reads of one flow before others have their turn


class Carrier(Protocol):
    """The peer that carries a flow's stream."""

    loop: Loop
    buffers: Share

    @property
    def rtt(self) -> float: ...

    @property
    def congested(self) -> bool: ...

    def flow_message(self, flow: Flow, offset: int, flags: int, data: bytes) -> None: ...

    def flow_bulk(self, flow: Flow) -> None: ...

    def flow_block(self, flow: Flow) -> int: ...

    def flow_credit(self, flow: Flow, credit: int) -> None: ...

    def flow_refused(self, flow: Flow, errno: int) -> None: ...

    def flow_finished(self, flow: Flow) -> None: ...

    def flow_aborted(self, flow: Flow, tell: bool) -> None: ...


class Flow:
    def __init__(
        self,
        carrier: Carrier,
        sock: socket.socket,
        stream: int,
        client: Address,
        server: Address,
        *,
        connecting: bool,
        credit: tuple[int, int],
        window: int,
        domain: int,
        store: bool,
        rule: str,
        dscp: int,
    ) -> None:
        """`credit` is (what we may send, what the peer may send) before the first CREDIT, bytes; `window` is what the
        peer may at most be ahead of the end host later."""
        self.carrier = carrier
        self.stream = stream
        self.client = client
        self.server = server
        self.rule = rule
        self.domain = domain
        self.store = store
        self.dscp = dscp
        self.weight = marking.weight(dscp)
        self.accepted = not connecting
        self.began = carrier.loop.now
        self.attained = 0  # original bytes that the bulk session has carried, for the scheduler
        self.lan_in = self.lan_out = self.wan_in = self.wan_out = 0
        self.queued = False  # waits in the scheduler
        self.cut_at = 0.0  # when its last block was taken
        self.gain = 1.0  # original bytes of its last block for each on the wire
        self.blocks = 0  # that the peer has not acknowledged
        self._starved = False  # waits for a buffer
        self._overtaking = 0  # messages sent since, which may arrive before them
        self.sender = SendHalf(credit[0])
        self.receiver = ReceiveHalf(credit[1], window)
        self.unread = 0  # bytes from the peer that wait for the end host
        self.closed = False
        self.reason = ""  # why it was broken off
        self._opening: Opening | None = Opening()
        self._application: Application | None = None
        self._sock = sock
        self._fd = sock.fileno()
        self._connecting = connecting
        self._buffer: bytearray | None = None
        self._filled = 0
        self._full: deque[tuple[bytearray, int]] = deque()
        self._read_ended = False
        self._write_ended = False
        self._turn = 0
        self._last_read = 0.0
        self._out: deque[memoryview] = deque()
        self._registered = True
        self._mask = WRITE if connecting else READ
        reset_on_close(sock)
        carrier.loop.register(self._fd, self._mask, self._ready)

    @property
    def connecting(self) -> bool:
        """The far end host has not answered yet."""
        return self._connecting and not self.closed

    @property
    def state(self) -> str:
        if self._connecting:
            return "connecting"
        if self._read_ended or self._write_ended:
            return "half-closed"
        return "open"

    @property
    def application(self) -> Application:
        """What its ends speak, as far as they have spoken."""
        if self._opening is not None:
            return self._opening.application(self.server[1])
        assert self._application is not None
        return self._application

    @property
    def end_host(self) -> EndHost | None:
        """The connection to the end host, as the kernel sees it; None when it is closed."""
        return None if self.closed else end_host(self._sock)

    @property
    def lan_ends(self) -> tuple[Address, Address]:
        """This box's end of the connection to the end host and the other one, as packets on the LAN have them."""
        return self._sock.getsockname()[:2], self._sock.getpeername()[:2]

    @property
    def pending(self) -> int:
        """Bytes read from the LAN that wait for the encoder."""
        return sum(length for _, length in self._full) + self._filled

    def take_block(self) -> tuple[bytearray, int, int, bool]:
        """The oldest waiting bytes: buffer, their count, their stream offset, and whether the stream ends behind."""
        if self._full:
            buffer, length = self._full.popleft()
        else:
            assert self._buffer is not None
            buffer, length = self._buffer, self._filled
            self._buffer, self._filled = None, 0
        offset = self.sender.take(length)
        fin = self._read_ended and not self.pending
        if fin:
            self.sender.ended = True
        self.attained += length
        self.cut_at = self.carrier.loop.now
        return buffer, length, offset, fin

    def block_sent(self) -> None:
        """The block that was taken last is on its way: reading may go on."""
        if self.blocks == 1:
            self._overtaking = 0
        if not self.closed:
            self._interest()
            self._finish_if_done()

    def deliver(self, offset: int, data: bytes | memoryview, fin: bool) -> None:
        """Bytes from the peer; StreamError when they break the stream's rules."""
        pieces = self.receiver.accept(offset, data, fin)
        self._turn = 0
        if self.closed:
            return
        self._waits(len(data))
        if self._opening is not None:
            for piece in pieces:
                self._overhear(not self.accepted, piece)
        out = self._out
        waiting = bool(out)
        out.extend(memoryview(piece) for piece in pieces)
        if not waiting and not self._connecting:
            self._write()

    def grant(self, credit: int) -> None:
        if self.sender.grant(credit) and not self.closed:
            self._interest()

    def abort(self, reason: str, *, tell: bool = True) -> None:
        """Ends the flow with a RST to its end host."""
        if self.closed:
            return
        self.reason = reason
        self._close()
        self.carrier.flow_aborted(self, tell)

    def _ready(self, events: int) -> None:
        if events == READ and self._mask & READ:
            self._read()
            return
        if self._connecting:
            self._connected()
            return
        if events & select.EPOLLERR:
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.abort(os.strerror(error))
            return
        if events & WRITE:
            self._write()
        if self.closed:
            return
        if self._mask & READ:
            if events & (READ | select.EPOLLHUP):
                self._read()
        elif events & select.EPOLLHUP:
            # Both directions are shut and bytes still wait for credit: epoll would report it for ever.
            self.carrier.loop.unregister(self._fd)
            self._registered = False

    def _connected(self) -> None:
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.refuse(error)
            return
        self._connecting = False
        self._write()
        if not self.closed:
            self._interest()

    def refuse(self, error: int) -> None:
        """The far end host cannot be reached; `error` is an errno."""
        self._close()
        self.carrier.flow_refused(self, error)

    def give_up(self) -> None:
        """The time for connecting is over."""
        if self.connecting:
            self.refuse(errno.ETIMEDOUT)

    def _read(self) -> None:
        carrier = self.carrier
        now = carrier.loop.now
        if now - self._last_read > QUIET_S:
            self._turn = 0
        self._last_read = now
        if (
            self._turn < MAX_MESSAGE
            and not self._filled
            and not self._full
            and not carrier.congested
            and self._overtaking < OVERTAKING
            and not self._message()
        ):
            return
        size = carrier.flow_block(self)
        for _ in range(READS):
            self._close_block(size)
            room = min(self.sender.room - self.pending, size - self._filled)
            if room <= 0 or len(self._full) >= READY_BLOCKS:
                break
            if self._buffer is None and not self._take_buffer():
                break
            assert self._buffer is not None
            try:
                count = self._sock.recv_into(memoryview(self._buffer)[self._filled :], room)
            except BlockingIOError:
                break
            except OSError as error:
                self.abort(error.strerror or str(error))
                return
            if not count:
                self._end_of_input()
                break
            if self._opening is not None:
                self._overhear(self.accepted, memoryview(self._buffer)[self._filled : self._filled + count])
            self.lan_in += count
            self._turn += count
            self._filled += count
            if count < room:
                break
        self._close_block(size)
        if self._buffer is not None and not self._filled:
            carrier.buffers.give(self._buffer)
            self._buffer = None
        if self.pending and not self.queued:
            carrier.flow_bulk(self)
        if not self.closed:
            self._interest()

    def _close_block(self, size: int) -> None:
        """A block that has its size waits as it is; what is read next begins another."""
        if self._buffer is not None and self._filled >= size:
            self._full.append((self._buffer, self._filled))
            self._buffer, self._filled = None, 0

    def _message(self) -> bool:
        """Reads what may be a message, and sends it as one; whether more is waiting, which makes it bulk."""
        sender = self.sender
        # One byte more than a message may have tells a long one apart; without a buffer for it, it goes in pieces.
        buffers = self.carrier.buffers
        room = min(sender.credit - sender.offset, MAX_MESSAGE + buffers.available - self._turn)
        if room <= 0:
            return True
        try:
            data = self._sock.recv(room)
        except BlockingIOError:
            return False
        except OSError as error:
            self.abort(error.strerror or str(error))
            return False
        count = len(data)
        if not count:
            self._end_of_input()
            if not self.closed:
                self._interest()
            return False
        if self._opening is not None:
            self._overhear(self.accepted, data)
        self.lan_in += count
        self._turn += count
        if self._turn > MAX_MESSAGE:
            self._take_buffer()
            assert self._buffer is not None
            self._buffer[:count] = data
            self._filled = count
            return True
        self._overtaking = self._overtaking + 1 if self.blocks else 0
        self.carrier.flow_message(self, sender.take(count), 0, data)
        return count == room

    def _overhear(self, from_client: bool, data: bytes | memoryview) -> None:
        """Keeps the first bytes until there are enough of them to tell the application, and never looks again."""
        opening = self._opening
        if opening is not None and opening.add(from_client, data):
            self._application = opening.application(self.server[1])
            self._opening = None

    def _take_buffer(self) -> bool:
        """Whether there is a buffer to read into; if not, reading goes on when another flow gives one back."""
        self._buffer = self.carrier.buffers.take(self._buffer_free)
        self._starved = self._buffer is None
        return not self._starved

    def _buffer_free(self) -> None:
        self._starved = False
        if not self.closed:
            self._interest()
        elif self._buffer is None:
            self.carrier.buffers.pass_on()

    def _end_of_input(self) -> None:
        self._read_ended = True
        if not self.pending:
            self.sender.ended = True
            self.carrier.flow_message(self, self.sender.offset, FIN, b"")
            self._finish_if_done()

    def _write(self) -> None:
        out = self._out
        written = 0
        try:
            while out:
                piece = out[0]
                count = self._sock.send(piece)
                written += count
                if count < len(piece):
                    out[0] = piece[count:]
                    break
                out.popleft()
        except BlockingIOError:
            pass
        except OSError as error:
            self.abort(error.strerror or str(error))
            return
        if written:
            self._waits(-written)
            self.lan_out += written
            credit = self.receiver.consume(written, self.carrier.loop.now, self.carrier.rtt)
            if credit is not None:
                self.carrier.flow_credit(self, credit)
        if not out and self.receiver.ended and not self._write_ended:
            self._write_ended = True
            with contextlib.suppress(OSError):  # the end host may have closed meanwhile: reading will tell
                self._sock.shutdown(socket.SHUT_WR)
            self._finish_if_done()
        if not self.closed and (out or self._mask & WRITE or self.receiver.ended):
            self._interest()

    def _finish_if_done(self) -> None:
        if self.sender.ended and self._write_ended and not self.closed:
            with contextlib.suppress(OSError):
                close_orderly(self._sock)
            self._close()
            self.carrier.flow_finished(self)

    def _interest(self) -> None:
        reading = (
            not self._read_ended
            and not self._starved
            and len(self._full) < READY_BLOCKS
            and self.sender.room > self.pending
        )
        wanted = (READ if reading else 0) | (WRITE if self._out or self._connecting else 0)
        if not self._registered:
            if wanted:
                self._registered = True
                self._mask = wanted
                self.carrier.loop.register(self._fd, wanted, self._ready)
        elif wanted != self._mask:
            self._mask = wanted
            self.carrier.loop.modify(self._fd, wanted)

    def _close(self) -> None:
        self.closed = True
        if self._registered:
            self.carrier.loop.unregister(self._fd)
        self._sock.close()
        for buffer, _ in self._full:
            self.carrier.buffers.give(buffer)
        if self._buffer is not None:
            self.carrier.buffers.give(self._buffer)
        self._full.clear()
        self._buffer, self._filled = None, 0
        self._waits(-self.unread)
        self._out.clear()

    def _waits(self, count: int) -> None:
        self.unread += count
        self.carrier.buffers.waits(count)
