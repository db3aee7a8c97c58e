"""What a start with a large log takes: `python -m tests.bench.start [--log 50GB] [--real 4GB] [--watch 60] [--json]`.

Two boxes of the lab that both hold a full log of what came from the data centre (see large_log) are started after an
orderly stop and after `kill -9` of everything; time runs from the start of their processes to the end of the first
flow that crossed optimised. Then stretches from all ages of the log are downloaded, once each, while the boxes read
their logs back: the share of their bytes that did not cross the WAN. A start with empty logs stands beside it.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.config import units
from appliance.lab import Lab, LabError, rootless
from appliance.lab.cost import settle
from appliance.lab.pair import Box, Pair, Side
from appliance.rpc import RpcError, UnreachableError
from tests.bench import large_log
from tests.bench.index import BLOCK, content
from tests.bench.report import progress

PORT = 8000
PIECE = 4  # blocks of one download
AGES = (0.0, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)  # parts of the log between its end and a stretch
PIECES = 40  # downloads that a stretch is good for
TIMEOUT = 30.0
POLL = 0.01


@dataclass(frozen=True)
class Start:
    """how: what had happened before. seconds: to the end of the first optimised flow; unread: bytes left then.

    memory: bytes of private memory of both data planes then, and when all was read.
    """

    how: str
    log: int
    seconds: float
    unread: int
    memory: int


@dataclass(frozen=True)
class Moment:
    """seconds since the first optimised flow, bytes still to be read, and what need not cross of each age's bytes."""

    how: str
    seconds: float
    unread: int
    kept: list[float]


def serve(listener: socket.socket) -> None:
    """Says as many blocks as a line asks for: "first count"."""
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
            first, count = map(int, lines.readline().split())
            for block in range(first, first + count):
                connection.sendall(content(block))


def fetch(lab: Lab, first: int, count: int) -> None:
    """Download blocks and compare them."""
    with lab.client.socket() as connection:
        connection.settimeout(TIMEOUT)
        connection.connect((lab.server.v4, PORT))
        connection.sendall(b"%d %d\n" % (first, count))
        with connection.makefile("rb") as stream:
            for block in range(first, first + count):
                if stream.read(BLOCK) != content(block):
                    raise LabError(f"block {block} did not arrive as it was sent")


def begin(lab: Lab, pair: Pair, block: int) -> float:
    """Start both boxes; seconds until the first optimised flow was complete."""
    began = time.monotonic()
    for box in (pair.dc, pair.branch):
        box.start()
    while True:
        before = _intercepted(pair.branch)
        with contextlib.suppress(OSError):
            fetch(lab, block, 1)
            if 0 <= before < _intercepted(pair.branch):
                return time.monotonic() - began
        if time.monotonic() - began > TIMEOUT:
            raise LabError(f"no optimised flow within {TIMEOUT:.0f} s\n{pair.branch.log_tail()}")
        time.sleep(POLL)


def kill(box: Box) -> None:
    """All of it at once, the supervisor first."""
    for part in ("supervisor", "data", "control"):
        for pid in box.pids(part):
            os.kill(pid, signal.SIGKILL)
    assert box.process is not None
    box.process.wait()
    box.process = None


def _intercepted(box: Box) -> int:
    try:
        return box.flows_intercepted()
    except (UnreachableError, FileNotFoundError, TimeoutError, RpcError):
        return -1


def unread(pair: Pair) -> int:
    return sum(cache["unread"] for box in pair.boxes for cache in box.call("caches", plane="data")["caches"])


def memory(pair: Pair) -> int:
    """Bytes that only these processes have: not what they see of the page cache."""
    total = 0
    for box in pair.boxes:
        for pid in box.pids("data"):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.split("RssAnon:")[1].split()[0]) << 10
    return total


class Bench:
    """A lab with two boxes whose log holds `size` bytes, the newest `real` of them not zeros."""

    def __init__(self, lab: Lab, size: int, real: int) -> None:
        self._lab = lab
        self._size = size - size % BLOCK
        blocks = self._size // BLOCK
        self._stretches = [
            min(blocks - PIECES * PIECE, max(0, round(blocks * (1 - age)) - PIECES * PIECE)) for age in AGES
        ]
        self._first_real = blocks - real // BLOCK
        self._used = 0
        side = Side(peer={"cache": max(self._size, 1 << 20)})
        self.pair = Pair(lab, branch=side, dc=side)

    def fill(self) -> None:
        kept = {block for first in self._stretches for block in range(first, first + PIECES * PIECE)}
        boxes = self.pair.boxes
        places = [(box.directory / "state" / "cache", box.id) for box in boxes]
        large_log.make(
            (places[0], places[1]),
            self._size,
            lambda block: block >= self._first_real or block in kept,
            progress,
        )

    def start(self, how: str) -> Start:
        seconds = begin(self._lab, self.pair, self._stretches[0] + PIECES * PIECE - 1)
        return Start(how, self._size, round(seconds, 2), unread(self.pair), memory(self.pair))

    def recover(self, how: str, watch: float) -> Iterator[Moment]:
        """Until everything has been read or `watch` seconds are over."""
        began, pause = time.monotonic(), 1.0
        while self._used < PIECES - 2:
            left, seconds = unread(self.pair), time.monotonic() - began
            yield Moment(how, round(seconds, 1), left, [self._kept(first) for first in self._stretches])
            self._used += 1
            if not left or seconds > watch:
                return
            time.sleep(pause)
            pause *= 1.4

    def _kept(self, stretch: int) -> float:
        before = settle(self._lab.wan)
        fetch(self._lab, stretch + self._used * PIECE, PIECE)
        return round(max(0.0, 1 - (settle(self._lab.wan) - before) / (PIECE * BLOCK)), 3)


def measure(size: int, real: int, watch: float) -> Iterator[Start | Moment]:
    with Lab() as lab:
        listener = lab.server.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((lab.server.v4, PORT))
        listener.listen()
        lab.server.thread(serve, listener)
        empty = Bench(lab, 1 << 30, 0)
        try:
            yield empty.start("empty logs")
        finally:
            empty.pair.close()
        bench = Bench(lab, size, real)
        try:
            bench.fill()
            for how in ("orderly stop", "kill -9"):
                yield bench.start(how)
                yield from bench.recover(how, watch)
                yield Start(f"{how}, at the end", size, 0.0, unread(bench.pair), memory(bench.pair))
                if how == "orderly stop":
                    for box in bench.pair.boxes:
                        kill(box)
        finally:
            bench.pair.close()


def text(row: Start | Moment) -> str:
    if isinstance(row, Start):
        return (
            f"{row.how}: {row.log / 1e9:.0f} GB of log on each side, first optimised flow after "
            f"{row.seconds:.2f} s, {row.unread / 1e9:.1f} GB to be read, {row.memory / 1e6:.0f} MB of memory"
        )
    kept = "  ".join(f"{share:6.1%}" for share in row.kept)
    return f"  {row.seconds:6.1f} s, {row.unread / 1e9:6.1f} GB to be read; not sent, youngest first: {kept}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=units.size, default=4 << 30, help="bytes of log (default 4GiB)")
    parser.add_argument(
        "--real", type=units.size, default=1 << 30, help="newest part that is not zeros (1GiB)"
    )
    parser.add_argument("--watch", type=float, default=600, help="seconds at most, after each start (600)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    try:
        rootless.ensure()
        for row in measure(options.log, min(options.real, options.log), options.watch):
            made: dict[str, Any] = asdict(row)
            print(json.dumps(made) if options.json else text(row), flush=True)
    except LabError as error:
        progress(f"bench: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
