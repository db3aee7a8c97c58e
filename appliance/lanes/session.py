"""An ordered session: numbered frames that survive the lane they were sent on.

Both ends count the frames of a session. The sender keeps each until the peer says that it has taken it; when a
lane is lost, the next one starts where the peer stopped. A frame is taken when its work is done: for a block
that is "decoded and verified".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from appliance.lanes.frames import ProtocolError

T = TypeVar("T")

OVERHEAD = 96  # bytes of memory that holding a frame takes beside it


class SessionError(ProtocolError):
    """The peer's count does not fit ours; the association has to begin anew."""


class Sender(Generic[T]):
    """Frames sent and not yet acknowledged, with what their sender wants back at the acknowledgement."""

    def __init__(self) -> None:
        self.sent = 0  # frames numbered so far
        self.acknowledged = 0
        self.held_bytes = 0  # of memory, not only of frames: a short message costs far more than it has bytes
        self._held: deque[tuple[bytes, T | None]] = deque()

    def push(self, frame: bytes, token: T | None = None) -> int:
        """Numbers a frame and holds it; returns its number (the first is 0)."""
        number = self.sent
        self._held.append((frame, token))
        self.held_bytes += len(frame) + OVERHEAD
        self.sent = number + 1
        return number

    def acknowledge(self, received: int) -> list[T]:
        """The peer has taken `received` frames; returns the tokens of those that are new, in order."""
        if received > self.sent:
            raise SessionError(f"the peer acknowledges frame {received}, {self.sent} were sent")
        tokens = []
        while self.acknowledged < received:
            frame, token = self._held.popleft()
            self.held_bytes -= len(frame) + OVERHEAD
            self.acknowledged += 1
            if token is not None:
                tokens.append(token)
        return tokens

    def token(self, number: int) -> T | None:
        """What was pushed with frame `number`, while it is held."""
        at = number - self.acknowledged
        if not 0 <= at < len(self._held):
            raise SessionError(f"frame {number} is not among the {len(self._held)} that are under way")
        return self._held[at][1]

    def resume(self, received: int) -> Iterator[bytes]:
        """Frames to send again on a new lane, for a peer that had taken `received`."""
        if not self.acknowledged <= received <= self.sent:
            raise SessionError(
                f"the peer wants to go on at frame {received}, held are {self.acknowledged} to {self.sent}"
            )
        skip = received - self.acknowledged
        return (frame for at, (frame, _) in enumerate(self._held) if at >= skip)


class Receiver:
    """Counts frames as they arrive (a resumed session goes on there) and as their work is done (acknowledged)."""

    FRAMES = 64
    BYTES = 4 << 20

    def __init__(self) -> None:
        self.arrived = 0
        self.received = 0
        self.announced = 0
        self._bytes = 0

    def took(self, work: int) -> bool:
        """One more frame is done, `work` original bytes; whether to acknowledge without waiting."""
        self.received += 1
        self._bytes += work
        return self.received - self.announced >= self.FRAMES or self._bytes >= self.BYTES

    @property
    def pending(self) -> int:
        """Frames that are done and not acknowledged."""
        return self.received - self.announced

    def announce(self) -> int:
        """The count for an ACK that is being sent now."""
        self.announced = self.received
        self._bytes = 0
        return self.received
