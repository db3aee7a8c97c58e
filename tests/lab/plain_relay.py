"""A box with interception and nothing else: near listener → plain TCP → the other box → server.

The smallest daemon that the kernel rules can be tried with: no lanes, no codec, a thread per direction.
`python plain_relay.py SETUP` (a pickled Setup, base64) runs until its standard input ends; every line there
is a request (JSON), answered by one line. Every box is both sides, as in the product.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import pickle
import select
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

from appliance.intercept import (
    Accepted,
    BoxSpec,
    Interception,
    Listener,
    StaleTuples,
    close_orderly,
    dial,
    reset_on_close,
)

HEARTBEAT = 0.5
LANE_PORT = 4001
OPEN_TIMEOUT = 3.0  # seconds that a server has to answer the far side


@dataclass(frozen=True)
class Setup:
    """What a relay is started with."""

    spec: BoxSpec
    here: str  # address where the other box's connections come in
    there: str  # the other box's
    source: Literal["client", "box"] = "client"
    backlog: int = 128

    def encode(self) -> str:
        return base64.b64encode(pickle.dumps(self)).decode()


class Relay:
    """One running box."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.spec = setup.spec
        self.accepted = 0
        self.dialled = 0
        self.stale = 0
        self._lock = threading.Lock()  # an nft context is for one thread at a time
        self._listeners = {peer.index: Listener(setup.backlog) for peer in setup.spec.peers}
        self._lanes = socket.create_server((setup.here, LANE_PORT), backlog=1024, reuse_port=True)
        self._tuples = StaleTuples()
        self._interception = Interception(setup.spec, HEARTBEAT)

    def run(self) -> None:
        self._interception.open()
        for listener in self._listeners.values():
            listener.open()
        self._update()
        self._interception.heartbeat()
        say({"ready": True})
        beat = time.monotonic()
        while True:
            doors = {fd: listener for listener in self._listeners.values() for fd in listener.filenos()}
            fixed = [sys.stdin.fileno(), self._tuples.fileno(), self._lanes.fileno()]
            ready, _, _ = select.select([*fixed, *doors], [], [], max(0.0, beat - time.monotonic()))
            if time.monotonic() >= beat:
                beat = time.monotonic() + HEARTBEAT
                with self._lock:
                    self._interception.heartbeat()
            for fd in ready:
                if fd in doors:
                    for flow in doors[fd].accept():
                        self.accepted += 1
                        spawn(self._near, flow)
            if self._lanes.fileno() in ready:
                spawn(self._far, self._lanes.accept()[0])
            if self._tuples.fileno() in ready:
                for stale in self._tuples.read():
                    self.stale += 1
                    self._tuples.destroy(stale)
            if sys.stdin.fileno() in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                with self._lock:
                    say(self._answer(json.loads(line)))

    def _answer(self, request: dict[str, Any]) -> Any:
        peer = int(request.get("peer", 0))
        match request["do"]:
            case "stats":
                return {"accepted": self.accepted, "dialled": self.dialled, "stale": self.stale}
            case "shut":  # the listener alone: the rules still name its port
                self._listeners[peer].close()
            case "open":
                self._listeners[peer].open()
                self._update()
            case "spec":
                self.spec = pickle.loads(base64.b64decode(request["spec"]))
                self._update()
            case "known":
                return [[item.address, item.port] for item in self._interception.known()]
            case "present":
                return self._interception.present()
            case other:
                raise ValueError(f"what is {other!r}?")
        return {}

    def _update(self) -> None:
        peers = []
        for peer in self.spec.peers:
            listener = self._listeners[peer.index]
            peers.append(dataclasses.replace(peer, port4=listener.port4, port6=listener.port6))
        self._interception.update(dataclasses.replace(self.spec, peers=tuple(peers)))

    def _near(self, flow: Accepted) -> None:
        """A client's connection was intercepted here."""
        flow.sock.setblocking(True)
        number = 0
        try:
            lane = socket.create_connection((self.setup.there, LANE_PORT), timeout=OPEN_TIMEOUT + 0.4)
            reset_on_close(lane)
            lane.sendall(json.dumps([flow.client, flow.server]).encode() + b"\n")
            (number,) = struct.unpack("!I", lane.recv(4, socket.MSG_WAITALL) or b"\0\0\0\1")
            lane.settimeout(None)
        except OSError as error:
            number = error.errno or 1
        if number:
            with self._lock:
                self._interception.refuse(*flow.server)
            flow.sock.close()
            return
        relay(flow.sock, lane)

    def _far(self, lane: socket.socket) -> None:
        """The other box wants a server reached."""
        reset_on_close(lane)
        header = b""
        while not header.endswith(b"\n"):
            header += lane.recv(1)
        client, server = json.loads(header)
        self.dialled += 1
        try:
            sock = dial(tuple(client), tuple(server), self.setup.source)
            _, writable, _ = select.select([], [sock], [], OPEN_TIMEOUT)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if writable else 110
        except OSError as error:
            number = error.errno or 1
        lane.sendall(struct.pack("!I", number))
        if number:
            close_orderly(lane)
            lane.close()
            return
        sock.setblocking(True)
        relay(lane, sock)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Bytes both ways until both ends of file; an abnormal end of one is the other's."""
    ends: list[bool] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            ends.append(True)
        except OSError:
            ends.append(False)
            for sock in (one, other):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)  # wakes the other direction; close() then says RST

    back = spawn(pump, other, one)
    pump(one, other)
    back.join()
    for sock in (one, other):
        if all(ends):
            close_orderly(sock)
        sock.close()


def spawn(work: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Relay(pickle.loads(base64.b64decode(sys.argv[1]))).run()
