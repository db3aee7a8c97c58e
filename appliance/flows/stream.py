"""One stream, without its sockets: offsets, credit and ends, for either direction of a flow.

A stream's bytes may travel over two sessions, so every piece says at which offset it belongs, and the receiver
puts the pieces in order. Nothing is delivered twice and nothing out of order.
"""

from __future__ import annotations

from appliance.lanes.frames import ProtocolError

FIRST_CREDIT = 1 << 20
MOST_PIECES = 1024  # that wait for an earlier one; far more than two sessions can bring honestly


class StreamError(ProtocolError):
    """The peer broke a stream's rules (beyond its credit, behind its end): the peer is at fault, not the flow."""


class SendHalf:
    """What this box still may send on a stream."""

    __slots__ = ("credit", "ended", "offset")

    def __init__(self, credit: int) -> None:
        self.offset = 0  # of the next byte to send
        self.credit = credit  # the offset that may not be passed
        self.ended = False  # FIN has been sent

    @property
    def room(self) -> int:
        return self.credit - self.offset

    def take(self, count: int) -> int:
        """The offset for the next `count` bytes (at most `room`), which are then spoken for."""
        offset = self.offset
        self.offset = offset + count
        return offset

    def grant(self, credit: int) -> bool:
        """A CREDIT of the peer; whether it raised the limit (an older one that arrives late does not)."""
        if credit <= self.credit:
            return False
        self.credit = credit
        return True


class ReceiveHalf:
    """What has arrived of a stream, and how much more may."""

    __slots__ = (
        "_held",
        "_last_grant",
        "_most",
        "_pieces",
        "consumed",
        "credit",
        "final",
        "offset",
        "window",
    )

    def __init__(self, credit: int, most: int) -> None:
        """`credit` bytes may come at first; at most `most` may be ahead of the reader later."""
        self._most = most
        self.offset = 0  # everything below has been handed out
        self.consumed = 0  # everything below has left this box
        self.credit = credit
        self.window = credit
        self.final: int | None = None
        self._pieces: dict[int, bytes | memoryview] = {}
        self._held = 0  # bytes in them
        self._last_grant = 0.0

    @property
    def ended(self) -> bool:
        """All bytes up to the FIN have been handed out."""
        return self.final is not None and self.offset == self.final

    def accept(self, offset: int, piece: bytes | memoryview, fin: bool) -> list[bytes | memoryview]:
        """Takes a piece; returns what is now next in order. Raises StreamError."""
        end = offset + len(piece)
        if end > self.credit:
            raise StreamError(f"bytes up to offset {end}, credit ends at {self.credit}")
        if fin:
            if self.final is not None and self.final != end:
                raise StreamError(f"a second end at {end}, the first was at {self.final}")
            if end < self.offset or any(start + len(held) > end for start, held in self._pieces.items()):
                raise StreamError(f"an end at {end}, behind bytes that have already come")
            self.final = end
        elif self.final is not None and end > self.final:
            raise StreamError(f"bytes up to offset {end}, behind the end at {self.final}")
        if not len(piece):
            return []
        if offset != self.offset:
            if offset < self.offset or offset in self._pieces:
                raise StreamError(f"bytes at offset {offset} have come already")
            if len(self._pieces) == MOST_PIECES:
                raise StreamError(f"{MOST_PIECES} pieces are waiting for offset {self.offset}")
            if self._held + len(piece) > self.credit - self.offset:
                raise StreamError(f"pieces overlap behind offset {self.offset}")
            self._pieces[offset] = piece
            self._held += len(piece)
            return []
        ready = [piece]
        self.offset = end
        while self._pieces:
            following = self._pieces.pop(self.offset, None)
            if following is None:
                if min(self._pieces) < self.offset:
                    raise StreamError(f"pieces overlap before offset {self.offset}")
                break
            ready.append(following)
            self.offset += len(following)
            self._held -= len(following)
        return ready

    def consume(self, count: int, now: float, rtt: float) -> int | None:
        """`count` bytes have left this box; the new credit to announce when half a window is free, else None.

        A reader that empties half a window within two round trips is held back by the window: it doubles.
        """
        self.consumed += count
        if self.final is not None or self.credit - self.consumed > self.window // 2:
            return None
        if now - self._last_grant < 2 * rtt + 0.002:
            self.window = min(2 * self.window, max(self._most, self.window))
        self._last_grant = now
        self.credit = self.consumed + self.window
        return self.credit
