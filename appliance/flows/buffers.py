"""The data plane's buffers: one bound for what flows have read and what their end hosts have not.

Fresh pages cost more than the copy into them, so read buffers are used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from appliance.lanes.frames import MAX_BLOCK

SPARE = 64  # buffers kept; what is beyond goes back to the system
GREED = 2  # a party may hold so many times what is still free (dynamic thresholds, Choudhury and Hahne, 1998)


class Buffers:
    """A pool of read buffers of one block each, and the count of all bytes that wait on this box, over all parties.

    `unread` are bytes from peers that wait for an end host. Half of `limit` is for read buffers, and for `held`: the
    messages that peers have not acknowledged.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.unread = 0
        self.taken = 0
        self.held = 0
        self.spare: list[bytearray] = []
        self.waiting: deque[Share] = deque()  # each once that has a waiter

    @property
    def free(self) -> int:
        """Buffers that may still be taken."""
        return max(self.limit // 2 // MAX_BLOCK, 1) - self.taken - self.held // MAX_BLOCK

    def share(self) -> Share:
        """For one more party: a peer that takes and never gives back leaves something for the others."""
        return Share(self)

    def pass_on(self) -> None:
        """Tells one flow, of the parties by turns, that a buffer is there for it."""
        for _ in range(len(self.waiting)):
            share = self.waiting.popleft()
            told = share.waiters.popleft() if share.available else None
            if share.waiters:
                self.waiting.append(share)
            if told is not None:
                told()
                return


class Share:
    """One party's part of the pool. A flow that gets no buffer stops reading, and its end host is held up by TCP."""

    def __init__(self, pool: Buffers) -> None:
        self.pool = pool
        self.unread = 0
        self.taken = 0
        self.held = 0
        self.waiters: deque[Callable[[], None]] = deque()

    @property
    def available(self) -> bool:
        return self.taken < GREED * self.pool.free

    @property
    def room(self) -> int:
        """Bytes that it may hold of its own kind, be it buffers or messages."""
        return max(0, GREED * self.pool.free * MAX_BLOCK)

    def take(self, waiter: Callable[[], None]) -> bytearray | None:
        """A buffer; or None, and `waiter` is called once when it is worth asking again."""
        pool = self.pool
        if not self.available:
            if not self.waiters:
                pool.waiting.append(self)
            self.waiters.append(waiter)
            return None
        self.taken += 1
        pool.taken += 1
        return pool.spare.pop() if pool.spare else bytearray(MAX_BLOCK)

    def give(self, buffer: bytearray) -> None:
        pool = self.pool
        self.taken -= 1
        pool.taken -= 1
        if len(pool.spare) < SPARE:
            pool.spare.append(buffer)
        if pool.waiting:
            pool.pass_on()

    def pass_on(self) -> None:
        """Whoever was told and needs none any more calls this."""
        self.pool.pass_on()

    def holds(self, count: int) -> None:
        """So many bytes of unacknowledged messages are held now."""
        less = count < self.held
        self.pool.held += count - self.held
        self.held = count
        if less and self.pool.waiting:
            self.pool.pass_on()

    def waits(self, count: int) -> None:
        """So many bytes more wait for an end host, or so many fewer."""
        self.unread += count
        self.pool.unread += count
