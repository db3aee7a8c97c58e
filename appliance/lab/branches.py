"""Many branches in one process, each with a key, lanes, a chunk cache and flows of its own, for one real centre.

`python -m appliance.lab.branches DIRECTORY CENTRE PORT N` in the branch's namespace, with the keys `N.key` and
the centre's public line `centre.pub` in DIRECTORY. What a branch does here is what a data plane
does, but for interception: a flow begins with a connection that this process made to itself. Commands come one JSON
object a line, and are answered so:

    {"do": "open", "branch": 3, "flows": 2, "server": ["10.2.0.2", 9003]}   downloads without end
    {"do": "close", "branch": 3}                                            ends the branch's flows
    {"do": "look"}                          state and bytes received, a list with one entry for each branch
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import dedupe
from appliance import identity
from appliance.config import Limits
from appliance.config import Peer as PeerConfig
from appliance.config.schema import Path as WanPath
from appliance.config.units import Size
from appliance.config.values import Endpoint, Name, Prefix, PublicKey
from appliance.events import Severity
from appliance.flows import policy
from appliance.flows.buffers import Buffers
from appliance.flows.flow import Flow
from appliance.intercept import reset_on_close
from appliance.lanes.frames import Address, Site
from appliance.loop import READ, Loop, Worker
from appliance.peer import Peer

CACHE = 8 << 20
HEARTBEAT_S = 2.0  # fifty branches in one process answer late on a busy machine
SINK = 1 << 18


def prefix(number: int) -> str:
    """The site of a branch, from 0."""
    return f"10.100.{number}.0/24"


def name(number: int) -> str:
    """Its box.id."""
    return f"branch-{number}"


class Branch:
    """What a data plane gives its peers (peer.Box), and the end hosts of the branch."""

    def __init__(
        self, loop: Loop, worker: Worker, directory: Path, number: int, centre: PublicKey, end: Endpoint
    ) -> None:
        self.loop = loop
        self.worker = worker
        self.buffers = Buffers(64 << 20)
        self.incarnation = number + 1
        self.id = name(number)
        self.heartbeat = HEARTBEAT_S
        self.limits = Limits()
        self.received = 0
        self._prefix = prefix(number)
        self._address = str(ip_network(self._prefix)[5])
        self._clients: list[socket.socket] = []
        self._sink = bytearray(SINK)
        config = PeerConfig(
            id=Name("dc"),
            key=centre,
            prefixes=(Prefix("10.2.0.0/16"),),
            paths=(WanPath(dial=(end,)),),
            cache=Size(CACHE),
        )
        own = identity.load_identity(directory / f"{number}.key")
        context = identity.tls_context(server_side=False, identity=own, peer_certs=[centre.der])
        self.peer = Peer(self, config, context, frozenset())
        self.peer.start()

    def open(self, server: Address) -> None:
        """A client begins a download without end."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, (_, port) = listener.accept()
        for sock in (client, accepted):
            sock.setblocking(False)
        self._clients.append(client)
        self.loop.register(client.fileno(), READ, lambda _events: self._read(client))
        self.peer.accept(accepted, (self._address, port), server, policy.IMPLICIT)

    def shut(self) -> None:
        for client in self._clients:
            reset_on_close(client)
            self.loop.unregister(client.fileno())
            client.close()
        self._clients.clear()

    def _read(self, client: socket.socket) -> None:
        try:
            count = client.recv_into(self._sink)
        except OSError:
            count = 0
        self.received += count
        if not count:
            self.loop.unregister(client.fileno())

    # What the peer asks of its box.

    def number(self, peer: str) -> int:
        del peer
        return 1

    def emit(self, kind: str, severity: Severity, subject: str, text: str, evidence: dict[str, Any]) -> None:
        del subject, evidence
        if severity == "error":
            print(f"{self.id}: {kind}: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def admits(self, peer: str) -> bool:
        del peer
        return True

    def full(self, peer: str) -> int:
        del peer
        return 0

    def site(self, peer: str) -> Site:
        del peer
        return Site([self._prefix])

    def peer_changed(self, peer: Peer) -> None:
        """Nothing is intercepted here."""

    def dial(
        self, client: Address, server: Address, source: Literal["client", "box"], dscp: int = 0
    ) -> socket.socket:
        del client, server, source, dscp
        raise ConnectionRefusedError

    def refuse(self, server: Address) -> None:
        """Nothing is intercepted here."""

    def avoid(self, server: Address) -> None:
        """Nothing is intercepted here."""

    def all_flows(self) -> Iterable[Flow]:
        return self.peer.flows.values()

    def open_cache(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        del peer, domain
        return dedupe.Cache(capacity=capacity)

    def close_cache(self, cache: dedupe.Cache) -> None:
        cache.close()

    def cache_used(self, cache: dedupe.Cache) -> None:
        """It is in memory."""

    def rest(self, caches: list[dedupe.Cache]) -> None:
        for cache in caches:
            cache.rest()

    def prepare(self, caches: list[dedupe.Cache]) -> None:
        """It grows with what arrives."""


class Branches:
    """The loop, the branches and the commands."""

    def __init__(self, directory: Path, end: Endpoint, count: int) -> None:
        centre = PublicKey((directory / "centre.pub").read_text())
        self._loop = Loop()
        worker = Worker(self._loop, "codec")
        self._branches = [
            Branch(self._loop, worker, directory, number, centre, end) for number in range(count)
        ]
        self._input = b""
        self._loop.register(sys.stdin.fileno(), READ, self._commands)

    def run(self) -> None:
        self._loop.run()

    def _commands(self, _events: int) -> None:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            self._loop.stop()
            return
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            answer = self._obey(json.loads(line))
            print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol with who started it

    def _obey(self, command: dict[str, Any]) -> object:
        if command["do"] == "look":
            return [
                {
                    "state": branch.peer.attachment.state,
                    "received": branch.received,
                    "flows": len(branch.peer.flows),
                }
                for branch in self._branches
            ]
        branch = self._branches[command["branch"]]
        if command["do"] == "open":
            for _ in range(command["flows"]):
                branch.open((command["server"][0], command["server"][1]))
        else:
            branch.shut()
        return {}


if __name__ == "__main__":
    Branches(Path(sys.argv[1]), Endpoint.parse(f"{sys.argv[2]}:{sys.argv[3]}"), int(sys.argv[4])).run()
