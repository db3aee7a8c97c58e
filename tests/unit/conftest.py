"""Two boxes in one process: real lanes over loopback, real codec, end hosts that are plain sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dedupe
from appliance import identity, marking
from appliance.config import Limits
from appliance.config import Path as WanPath
from appliance.config import Peer as PeerConfig
from appliance.config.units import Duration, Size
from appliance.config.values import Endpoint, Name, Prefix, PublicKey
from appliance.flows import policy
from appliance.flows.buffers import Buffers
from appliance.flows.flow import Flow
from appliance.lanes.frames import Address, Site
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role
from appliance.lanes.reception import Reception
from appliance.loop import Loop, Worker
from appliance.peer import Peer

DEADLINE_S = 20.0


class FakeBox:
    """What a data plane gives its peers, without a kernel table: `dial` goes where the test says."""

    def __init__(self, loop: Loop, worker: Worker, name: str, incarnation: int) -> None:
        self.loop = loop
        self.worker = worker
        self.buffers = Buffers(64 << 20)
        self.id = name
        self.incarnation = incarnation
        self.heartbeat = 0.05
        self.announcement = Site(["127.0.0.0/8"])
        self.limits = Limits()
        self.events: list[tuple[str, str]] = []
        self.refused: list[Address] = []
        self.reason = 0  # why it takes no new flows
        self.dscp = -1  # of the last connection that was opened
        self.avoided: list[Address] = []
        self.flows: Callable[[], Iterable[Flow]] = tuple

    def hold(self, seconds: float) -> None:
        """Streams are held for so long while the peer is away."""
        self.limits = msgspec.structs.replace(self.limits, stream_hold=Duration(seconds))

    def admits(self, peer: str) -> bool:
        return len(list(self.flows())) < self.limits.flows

    def full(self, peer: str) -> int:
        del peer
        return self.reason

    def emit(self, kind: str, severity: str, subject: str, text: str, evidence: dict[str, Any]) -> None:
        del severity, subject, evidence
        self.events.append((kind, text))

    def site(self, peer: str) -> Site:
        del peer
        return self.announcement

    def peer_changed(self, peer: Peer) -> None:
        pass

    def dial(self, client: Address, server: Address, source: str, dscp: int = 0) -> socket.socket:
        del client, source
        self.dscp = dscp
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(server)
        return sock

    def number(self, peer: str) -> int:
        return 1

    def all_flows(self) -> Iterator[Flow]:
        return iter(self.flows())

    def open_cache(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        del peer, domain
        return dedupe.Cache(capacity=capacity)

    def cache_used(self, cache: dedupe.Cache) -> None:
        pass

    def close_cache(self, cache: dedupe.Cache) -> None:
        cache.close()

    def rest(self, caches: list[dedupe.Cache]) -> None:
        for cache in caches:
            cache.rest()

    def prepare(self, caches: list[dedupe.Cache]) -> None:
        for cache in caches:
            cache.prepare(1 << 20)

    def avoid(self, server: Address) -> None:
        self.avoided.append(server)

    def refuse(self, server: Address) -> None:
        self.refused.append(server)


class TwoBoxes:
    """A branch that dials and a data centre that is dialled, on one loop."""

    def __init__(self, directory: Path) -> None:
        self.loop = Loop()
        self.worker = Worker(self.loop, "codec")
        self.keys = {name: identity.create(directory / f"{name}.key") for name in ("branch", "dc")}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.paths: tuple[WanPath, ...] = (WanPath(dial=(Endpoint(f"127.0.0.1:{self.port}"),)),)
        self.mark = 0  # of what clients send
        self._incarnation = 0
        self.boxes: dict[str, FakeBox] = {}
        self.peers: dict[str, Peer] = {}
        self._reception: Reception | None = None
        for name in ("dc", "branch"):
            self.start(name)

    def start(self, name: str) -> None:
        """Starts a box, or restarts it with a new incarnation."""
        other = "branch" if name == "dc" else "dc"
        self._incarnation += 1
        box = self.boxes[name] = FakeBox(self.loop, self.worker, name, self._incarnation)
        config = PeerConfig(
            id=Name(other),
            key=PublicKey(self.keys[other].public),
            prefixes=(Prefix("127.0.0.0/8"),),
            paths=self.paths if name == "branch" else (),
            cache=Size(8 << 20),
        )
        pins = [self.keys[other].certificate]
        context = identity.tls_context(server_side=False, identity=self.keys[name], peer_certs=pins)
        box.flows = lambda: self.peers[name].flows.values()
        peer = self.peers[name] = Peer(box, config, context, frozenset())
        if name == "dc":

            def adopt(lane: Lane) -> bool:
                self.peers["dc"].attachment.adopt(lane)
                return True

            def report(remote: str, reason: str) -> None:
                box.events.append(("lane.refused", f"{remote}: {reason}"))

            self._reception = Reception(self.loop, adopt, report, 8)
            self._reception.listen((("127.0.0.1", self.port),))
            self._reception.context = identity.tls_context(
                server_side=True, identity=self.keys[name], peer_certs=pins
            )
        peer.start()

    def restart_over(self, ports: list[int]) -> None:
        """The branch begins again, over paths p0, p1, … that lead to these ports."""
        self.kill("branch")
        self.paths = tuple(
            WanPath(name=Name(f"p{at}"), dial=(Endpoint(f"127.0.0.1:{port}"),))
            for at, port in enumerate(ports)
        )
        self.start("branch")
        self.until(lambda: self.peers["dc"].attachment.paths.keys() >= {f"p{at}" for at in range(len(ports))})
        self.up()

    def kill(self, name: str) -> None:
        """The end of a box, without a word to its peer but what the kernel says for a dead process."""
        if name == "dc" and self._reception is not None:
            self._reception.close()
        peer = self.peers[name]
        for flow in list(peer.flows.values()):
            flow.abort("killed", tell=False)
        peer.attachment.close("killed")

    def until(self, condition: Callable[[], object]) -> None:
        """Runs the loop until `condition()` holds; fails after a deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.loop.call_later(0.02, lambda: None)
            self.loop.round()

    def up(self) -> None:
        self.until(
            lambda: all(
                peer.attachment.up and len(peer.attachment.lanes) == len(Role) for peer in self.peers.values()
            )
        )

    def connect(self, server: Address, match: policy.Match = policy.IMPLICIT) -> socket.socket:
        """A client's end of a new flow to `server`, accepted by the branch as if it had been intercepted."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.socket()
            marking.write(client, self.mark)
            client.connect(listener.getsockname())
            accepted, address = listener.accept()
        accepted.setblocking(False)
        client.setblocking(False)
        self.peers["branch"].accept(accepted, address, server, match)
        return client

    def close(self) -> None:
        for name in self.peers:
            self.kill(name)
        self.worker.close()
        self.loop.close()


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[TwoBoxes]:
    pair = TwoBoxes(tmp_path)
    try:
        yield pair
    finally:
        pair.close()
