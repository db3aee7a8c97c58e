"""While the path in use is suspect, what is small goes over another one as well.

To be sure that a path is dead takes three probes; a person at a keyboard need not wait for them. From the first miss
on, the express session's unacknowledged frames, and those that follow, are copied to the lane that stands by. The
receiver takes whichever comes first.
"""

from __future__ import annotations

from typing import Protocol

from appliance.lanes import frames
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role

FEATURE = "hedge"
MOST = 64 << 10  # bytes that are copied for one suspicion: what is more is no click


class Copies(Protocol):
    """Where the frames come from, and how far the peer's have come."""

    def arrived(self, role: Role) -> int: ...

    def unacknowledged(self, received: int) -> tuple[int, list[bytes]] | None: ...


class Hedging:
    def __init__(self, copies: Copies) -> None:
        self.count = 0  # of suspicions
        self._copies = copies
        self._lane: Lane | None = None
        self._left = 0  # bytes that may still be copied

    def over(self, lane: Lane | None) -> None:
        """The box that dials sends over this lane as well, and asks its peer to; None: neither does any more."""
        if lane is self._lane:
            return
        if self._lane is not None and not self._lane.closed:
            self._lane.send(frames.hedge(None))
        self._lane = None
        if lane is not None:
            lane.send(frames.hedge(self._copies.arrived(Role.EXPRESS)))
            self._begin(lane, 0)

    def asked(self, lane: Lane, received: int | None) -> None:
        """The peer asks for it, or says that it is enough. It has received so many frames."""
        if received is not None:
            self._begin(lane, received)
        elif lane is self._lane:
            self._lane = None

    def _begin(self, lane: Lane, received: int) -> None:
        self.count += 1
        self._lane, self._left = lane, MOST
        copies = self._copies.unacknowledged(received)
        if copies is None:
            self._left = 0
            return
        first, held = copies
        for number, frame in enumerate(held, first):
            self.push(number, frame)

    def push(self, number: int, frame: bytes) -> None:
        """A frame of the express session with its number; one after the other, without a gap."""
        if self._lane is None or not self._left:
            return
        if len(frame) > self._left or self._lane.blocked or self._lane.backlog >= MOST:
            self._left = 0
            return
        self._left -= len(frame)
        self._lane.send(frames.copy(number, frame))

    def end(self) -> None:
        """The session is moving; or the lane is gone."""
        self._lane = None

    def uses(self, lane: Lane) -> bool:
        return lane is self._lane
