"""Finds clients whose SYN comes through this box, and nothing of what follows: they take another router for that.

Such a client has the box's SYN-ACK, or not even that, and its connection never completes here. To carry its flows is
impossible; left alone, the network would.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.intercept.half_open import HalfOpen
from appliance.loop import Loop

LOOK_S = 1.0
LATE_S = 0.3  # of this box itself, after which nobody is accused: what came may not have been taken


class OneWay:
    """`look` lists what is half open and would be carried here; `found` gets a client's address and its connections."""

    def __init__(
        self, loop: Loop, look: Callable[[], list[HalfOpen]], found: Callable[[str, list[HalfOpen]], None]
    ) -> None:
        self._loop = loop
        self._look = look
        self._found = found
        self._seen: set[HalfOpen] = set()  # at the last look, when they had been answered twice by then
        self._timer = loop.call_later(LOOK_S, self._check)

    def close(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        late = self._loop.clock() - self._timer.due > LATE_S
        self._timer = self._loop.call_later(LOOK_S, self._check)
        waiting = {one for one in self._look() if one.again} if not late else set()
        silent: dict[str, list[HalfOpen]] = {}
        for one in waiting & self._seen:
            silent.setdefault(one.client[0], []).append(one)
        self._seen = waiting
        for client, connections in silent.items():
            self._found(client, connections)
