"""The data plane's buffers: one bound for what flows have read and what their end hosts have not.

Fresh pages cost more than the copy into them, so read buffers are used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from appliance.lanes.frames import MAX_BLOCK

SPARE = 64  # buffers kept; what is beyond goes back to the system


class Buffers:
    """A pool of read buffers of one block each, and the count of all bytes that wait on this box, over all flows.

    `unread` are bytes from peers that wait for an end host. Half of `limit` is for read buffers: a flow that gets
    none stops reading until another flow gives one back, and its end host is held up by TCP.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.unread = 0
        self.taken = 0
        self._spare: list[bytearray] = []
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def available(self) -> bool:
        return (self.taken + 1) * MAX_BLOCK <= max(self.limit // 2, MAX_BLOCK)

    def take(self, waiter: Callable[[], None]) -> bytearray | None:
        """A buffer; or None, and `waiter` is called once when it is worth asking again."""
        if not self.available:
            self._waiting.append(waiter)
            return None
        self.taken += 1
        return self._spare.pop() if self._spare else bytearray(MAX_BLOCK)

    def give(self, buffer: bytearray) -> None:
        self.taken -= 1
        if len(self._spare) < SPARE:
            self._spare.append(buffer)
        self.pass_on()

    def pass_on(self) -> None:
        """Tells the next who waits; whoever was told and needs none any more calls this too."""
        if self._waiting:
            self._waiting.popleft()()
