"""How long the queue is that a lane's frames wait in on the way: sounded by clocks that need not agree.

A SOUND carries its sender's clock. What it took by the receiver's clock is the way, the queue and the difference of the
clocks; the least of late is the way without a queue. So each direction is measured by itself, where a round trip
would blame both boxes for a queue before one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from appliance.lanes import frames
from appliance.lanes.frames import Kind
from appliance.lanes.lane import Lane

FEATURE = "sound"
FORGET_S = 60.0  # the least of the last one to two minutes counts: clocks drift, routes change
_MODULUS = 1 << 46  # µs
_TOO_DEEP = 1 << 32


class Tide:
    """Queueing delays out of stamps. All in µs; `now` in seconds."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._began = 0.0
        self._least = math.inf  # of this window,
        self._earlier = math.inf  # and of the one before

    def depth(self, stamp: int, now: float) -> int:
        """What the frame with this stamp has waited beyond the quickest of late."""
        took = (stamp_at(now) - stamp) % _MODULUS
        if self._first is None:
            self._first, self._began = took, now
        took = (took - self._first + _MODULUS // 2) % _MODULUS
        if now - self._began > FORGET_S:
            self._began, self._earlier, self._least = now, self._least, math.inf
        self._least = min(self._least, took)
        return min(took - int(min(self._least, self._earlier)), _TOO_DEEP)


def stamp_at(now: float) -> int:
    return int(now * 1e6) % _MODULUS


class Sounding:
    """One peer's, over whichever lane is its express lane."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._from_peer: tuple[Lane | None, Tide] = (None, Tide())
        self._asked: Lane | None = None
        self._depths: list[float] = []

    def ask(self, lane: Lane) -> None:
        """Asks the peer how deep the queue towards it is."""
        if lane is not self._asked:
            self._asked = lane
            self._depths.clear()
        lane.send(frames.sound(stamp_at(self._clock())))

    def answers(self) -> list[float]:
        """Depths in seconds that the peer has told since this was called last."""
        told, self._depths = self._depths, []
        return told

    def take(self, lane: Lane, kind: int, body: bytes) -> None:
        (number,) = frames.read_numbers(body, 1)
        if kind == Kind.DEPTH:
            if lane is self._asked:
                self._depths.append(number / 1e6)
            return
        if self._from_peer[0] is not lane:
            self._from_peer = (lane, Tide())
        lane.send(frames.depth(self._from_peer[1].depth(number, self._clock())))
