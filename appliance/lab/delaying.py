"""The process that stands in for netem: holds forwarded packets back by answering NFQUEUEs late.

`python -m appliance.lab.delaying` inside the WAN's namespace. It prints `ready` when the queues are bound,
reads one JSON object a line on standard input ({"queue": 0, "delay": 0.04, "jitter": 0, "reorder": 0}, queue
0 towards the data centre, 1 towards the branch), prints `ok` for each, and ends at the end of its input.
"""

import errno
import gc
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any

from appliance.lab import nfqueue
from appliance.lab.emulation import QUEUES
from appliance.lab.holding import Holding, Line

RECEIVE_BUFFER = 64 << 20
LONGEST_QUEUE = 200_000
DRAIN = 256  # packets taken in before looking at the clock again
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33
PRIORITY = 10


class Delayer:
    """Binds the queues in the current namespace; raises OSError when the kernel has none or they are taken."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, nfqueue.NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._lines = [Line(random.random) for _ in QUEUES]
        self._buffer = bytearray(1 << 16)
        for queue in QUEUES.values():
            self._ask(nfqueue.bind(queue))
            self._ask(nfqueue.configure(queue, LONGEST_QUEUE))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:  # an ordinary user gets what the system allows everyone
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self._socket.setblocking(False)

    def _ask(self, message: bytes) -> None:
        self._socket.send(message)
        answer = self._socket.recv(4096)
        code = nfqueue.error(answer) if nfqueue.kind_of(answer) == nfqueue.NLMSG_ERROR else errno.EPROTO
        if code:
            raise OSError(code, f"NFQUEUE: {os.strerror(code)}")

    def command(self, line: str) -> None:
        wish = json.loads(line)
        self._lines[wish["queue"]].holding = Holding(wish["delay"], wish["jitter"], wish["reorder"])

    def _take(self) -> list[bytes]:
        """Take in what the kernel has queued; returns verdicts for those that overtake."""
        at_once: list[bytes] = []
        now = time.monotonic()
        for _ in range(DRAIN):
            try:
                length = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            if length < nfqueue.SMALLEST_PACKET or nfqueue.kind_of(self._buffer) != nfqueue.PACKET:
                continue  # an error about a verdict for a packet whose interface has gone
            queue, packet = nfqueue.packet(self._buffer)
            if self._lines[queue].arrive(packet, now):
                at_once.append(nfqueue.release(queue, packet, older=False))
        return at_once

    def _release(self) -> float | None:
        """Let go what is due; returns the seconds until the next one."""
        now = time.monotonic()
        soonest = None
        for queue, line in enumerate(self._lines):
            last = line.due(now)
            if last is not None:
                self._socket.send(nfqueue.release(queue, last, older=True))
            due = line.next_due()
            if due is not None and (soonest is None or due < soonest):
                soonest = due
        return None if soonest is None else max(0.0, soonest - time.monotonic())

    def run(self, commands: int) -> None:
        """Serve until the end of the commands (a file descriptor)."""
        sources: list[Any] = [self._socket, commands]
        pending = b""
        timeout: float | None = None
        while True:
            # select has microseconds where epoll rounds to milliseconds.
            ready, _, _ = select.select(sources, [], [], timeout)
            if self._socket in ready and (at_once := self._take()):
                self._socket.send(b"".join(at_once))
            if commands in ready:
                data = os.read(commands, 4096)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self.command(line.decode())
                    print("ok", flush=True)  # noqa: T201 - the protocol with the lab
            timeout = self._release()


def main() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        print("the WAN's delays are less exact without SCHED_FIFO", file=sys.stderr)  # noqa: T201
    delayer = Delayer()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would hold packets back
    print("ready", flush=True)  # noqa: T201 - the protocol with the lab
    delayer.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
