"""The data plane's event loop: epoll, timers, and work handed back by other threads.

A relay spends most of its time in socket calls, so the loop is a thin one: a descriptor has one callback, and
what wants to run once per round (flushing a lane, choosing the next block) asks for it with `at_end`. It opens
twice the connections per second that asyncio with uvloop did in the same measurement.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

SLEPT_S = 0.0002  # of waiting for events: those that end it have just come

Callback = Callable[[int], None]


class Timer:
    """A call due at a time; `cancel` is cheap, a cancelled timer is dropped when it comes due."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    """One thread's events. All methods but `call_threadsafe` belong to the thread that calls `run`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.now = clock()  # refreshed once per round
        self.since = (
            self.now
        )  # what this round brings has come no earlier, it may have waited for the last round
        self.rounds = 0
        self.slept = 0.0  # seconds of all rounds in which it waited for something to do
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._fresh: set[int] = set()  # registered in this round: an event fetched before is somebody else's
        self._timers: list[Timer] = []
        self._ending: deque[Callable[[], None]] = deque()
        self._posted: deque[Callable[[], None]] = deque()
        self._running = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.register(self._wake, READ, self._woken)

    def register(self, fd: int, events: int, callback: Callback) -> None:
        """Calls `callback(events)` when any of `events` (or an error, or a hang-up) is there; level-triggered."""
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback
        self._fresh.add(fd)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forgets `fd`, closed or not; events of it that this round has already fetched are dropped."""
        if self._callbacks.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.clock() + delay, call)
        heapq.heappush(self._timers, timer)
        return timer

    def at_end(self, call: Callable[[], None]) -> None:
        """Calls once, after the callbacks of this round (of the next one, when called from outside a round)."""
        self._ending.append(call)

    def call_threadsafe(self, call: Callable[[], None]) -> None:
        """Calls in the loop's thread; also for signal handlers."""
        self._posted.append(call)
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        """Runs rounds until `stop`."""
        self._running = True
        while self._running:
            self.round()

    def round(self) -> None:
        """One round: waits for events or the next timer, then calls callbacks, timers and end-of-round work."""
        timeout = 0.0
        if not (self._ending or self._posted):
            timeout = -1.0
            if self._timers:
                timeout = max(0.0, self._timers[0].due - self.clock())
        before = self.clock()
        events = self._epoll.poll(timeout, 256)
        polled, self.now = self.now, self.clock()
        self.rounds += 1
        self.slept += self.now - before
        self.since = self.now if self.now - before > SLEPT_S else polled
        callbacks, fresh = self._callbacks, self._fresh
        fresh.clear()
        for fd, mask in events:
            callback = callbacks.get(fd)
            if callback is not None and fd not in fresh:
                callback(mask)
        timers, now = self._timers, self.now
        while timers and timers[0].due <= now:
            call = heapq.heappop(timers).call
            if call is not None:
                call()
        # What these ask for anew belongs to the next round, or one busy lane would keep all others waiting.
        for queue in (self._posted, self._ending):
            for _ in range(len(queue)):
                queue.popleft()()

    def close(self) -> None:
        self._epoll.close()
        os.close(self._wake)

    def _woken(self, _mask: int) -> None:
        os.eventfd_read(self._wake)


def mask(reading: bool, writing: bool) -> int:
    """Epoll events for a socket that wants to read, to write, both or neither."""
    return (READ if reading else 0) | (WRITE if writing else 0)


Job = Callable[[], Any]
Done = Callable[[Any, Exception | None], None]


class Queue:
    """One party's jobs for a worker; they keep their order. Its turn comes when it has had the least of the thread."""

    def __init__(self, worker: Worker) -> None:
        self.jobs: deque[tuple[Job, Done]] = deque()  # changed under the worker's lock
        self.attained = 0.0  # seconds of the thread's CPU; the same
        self._worker = worker
        self._pending = 0  # jobs whose `done` has not been called; changed by the loop's thread only

    def submit(self, job: Job, done: Done) -> None:
        """Runs `job()` in the thread, then `done(result, error)` on the loop."""
        self._pending += 1

        def finish(result: Any, error: Exception | None) -> None:
            self._pending -= 1
            done(result, error)

        self._worker.take(self, job, finish)

    def drain(self, seconds: float | None = None) -> bool:
        """Waits until the jobs submitted so far have run, for so long at most; their `done` calls are still to come."""
        if not self._pending:
            return True
        reached = threading.Event()
        self.submit(reached.set, lambda _result, _error: None)
        return reached.wait(seconds)


class Worker(Queue):
    """A thread for calls that release the GIL long enough to be worth a hand-over (encoding a large block).

    Several parties share it through queues of their own, least attained service first (start-time fair queueing,
    Goyal et al., SIGCOMM 1996: one that was idle has saved nothing up). It is a queue itself, for what is nobody's.
    """

    def __init__(self, loop: Loop, name: str, clock: Callable[[], float] = time.thread_time) -> None:
        """`clock`: seconds that the thread which asks has used."""
        super().__init__(self)
        self._loop = loop
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[Queue] = []
        self._floor = 0.0  # what the queue had attained that was served last
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def queue(self) -> Queue:
        """A queue for one more party."""
        return Queue(self)

    def take(self, queue: Queue, job: Job, done: Done) -> None:
        """For queues only."""
        with self._changed:
            if not queue.jobs:
                queue.attained = max(queue.attained, self._floor)
                self._waiting.append(queue)
            queue.jobs.append((job, done))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _next(self) -> tuple[Queue, Job, Done] | None:
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            queue = min(self._waiting, key=lambda queue: queue.attained)
            job, done = queue.jobs.popleft()
            if not queue.jobs:
                self._waiting.remove(queue)
            self._floor = queue.attained
            return queue, job, done

    def _serve(self) -> None:
        while (found := self._next()) is not None:
            queue, job, done = found
            result: Any = None
            failure: Exception | None = None
            began = self._clock()
            try:
                result = job()
            except Exception as error:  # noqa: BLE001 - handed to `done`, which decides
                failure = error
            with self._changed:
                queue.attained += self._clock() - began
            self._loop.call_threadsafe(lambda d=done, r=result, f=failure: d(r, f))  # type: ignore[misc]
