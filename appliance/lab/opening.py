"""Opens connections as fast as asked: `python -m appliance.lab.opening '{"host": …}'` in the client's namespace.

Each connection sends one byte, waits for it to come back and is closed. Prints one JSON object: connections,
failed, seconds.
"""

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass

TIMEOUT = 10.0


@dataclass(frozen=True)
class Wish:
    """rate: opens per second, 0 for as many as go. in_flight: connections open at one time, at most."""

    host: str
    port: int
    count: int
    in_flight: int
    rate: float = 0.0


@dataclass(frozen=True)
class Outcome:
    connections: int
    failed: int
    seconds: float


class Opener:
    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._began: deque[tuple[float, int, socket.socket]] = deque()
        self._started = self._done = self._failed = 0

    def run(self) -> Outcome:
        wish = self._wish
        began = now = time.perf_counter()
        while self._done + self._failed < wish.count:
            due = min(wish.count, int((now - began) * wish.rate) + 1) if wish.rate else wish.count
            while self._started < due and len(self._open) < wish.in_flight:
                self._connect(now)
            for fd, _ in self._poll.poll(0.001 if wish.rate else 1.0):
                self._ready(fd)
            now = time.perf_counter()
            self._give_up(now)
        return Outcome(self._done, self._failed, time.perf_counter() - began)

    def _connect(self, now: float) -> None:
        self._started += 1
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connection.connect_ex((self._wish.host, self._wish.port))
        fd = connection.fileno()
        self._open[fd] = connection
        self._began.append((now + TIMEOUT, fd, connection))
        self._poll.register(fd, select.EPOLLOUT)

    def _ready(self, fd: int) -> None:
        connection = self._open[fd]
        try:
            if connection.recv(1):
                self._end(fd)
                self._done += 1
                return
        except BlockingIOError:
            try:
                connection.send(b"x")
                self._poll.modify(fd, select.EPOLLIN)
                return
            except OSError:
                pass  # it counts as failed, like one that is reset
        except OSError:
            pass
        self._end(fd)
        self._failed += 1

    def _give_up(self, now: float) -> None:
        while self._began and (self._began[0][0] < now or self._began[0][2].fileno() < 0):
            _, fd, connection = self._began.popleft()
            if self._open.get(fd) is connection:
                self._end(fd)
                self._failed += 1

    def _end(self, fd: int) -> None:
        self._open.pop(fd).close()


def main() -> None:
    outcome = Opener(Wish(**json.loads(sys.argv[1]))).run()
    print(json.dumps(asdict(outcome)))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
