"""A peer that has its true key and keeps no other rule: lanes over real TLS, driven frame by frame from a test."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import time
from pathlib import Path
from typing import Self

import dedupe
from appliance import identity
from appliance.config.values import PublicKey
from appliance.lab import Host, branches
from appliance.lanes import frames
from appliance.lanes.frames import Hello, Kind, Open
from appliance.lanes.link import Role

PATIENCE_S = 30.0
TAKEN_S = 2.0  # for what is said to be taken
CLOSED = (ssl.SSLError, ConnectionError)


class HostileLane:
    """One lane: what is said goes out as it is, nothing is answered by itself."""

    def __init__(self, host: Host, address: tuple[str, int], context: ssl.SSLContext, role: Role) -> None:
        self.role = role
        sock = host.socket()
        sock.settimeout(PATIENCE_S)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = context.wrap_socket(sock)
        self._reader = frames.FrameReader()
        self._reader.limit = frames.MAX_FRAME
        self._heard: list[tuple[int, bytes]] = []

    def say(self, *said: bytes) -> bool:
        """Sends; False when the other side has closed the lane, or takes nothing any more."""
        self._tls.settimeout(TAKEN_S)
        try:
            self._tls.sendall(b"".join(said))
        except (*CLOSED, TimeoutError):
            return False
        finally:
            self._tls.settimeout(PATIENCE_S)
        return True

    def hear(self, kind: Kind) -> bytes:
        """The body of the next frame of that kind; what comes before it is forgotten. EOFError at the lane's end."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            while self._heard:
                found, body = self._heard.pop(0)
                if found == kind:
                    return body
            try:
                count = self._tls.recv_into(self._reader.space())
            except CLOSED:
                count = 0
            if not count:
                raise EOFError
            self._heard += self._reader.received(count)
        raise TimeoutError(f"no {kind.name}")

    def ends(self) -> bool:
        """Whether the other side closes the lane in time."""
        with contextlib.suppress(EOFError, TimeoutError):
            while True:
                self.hear(Kind.BYE)
        return self._ended()

    def _ended(self) -> bool:
        try:
            return not self._tls.recv(1)
        except CLOSED:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self._tls.close()


class HostilePeer:
    """Branch `number` of a hub. Each `begin` is a new association."""

    def __init__(self, host: Host, address: tuple[str, int], keys: Path, number: int) -> None:
        own = identity.load_identity(keys / f"{number}.key")
        centre = PublicKey((keys / "centre.pub").read_text())
        self._context = identity.tls_context(server_side=False, identity=own, peer_certs=[centre.der])
        self._host = host
        self._address = address
        self._number = number
        self._incarnation = secrets.randbits(53)
        self._associations = 0
        self._begun = 0
        self.lanes: list[HostileLane] = []
        self._cache = dedupe.Cache(capacity=1 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        for lane in self.lanes:
            lane.close()
        self.lanes.clear()

    def begin(self) -> tuple[HostileLane, HostileLane]:
        """A new association with both its lanes, attached: express and bulk."""
        self.leave()
        self._associations += 1
        self._begun = 0
        express, bulk = self.lane(Role.EXPRESS), self.lane(Role.BULK)
        for lane in (express, bulk):
            lane.say(frames.attach(1, 0))
            lane.hear(Kind.ATTACH)
        return express, bulk

    def lane(self, role: Role) -> HostileLane:
        """One more lane of the association, greeted."""
        lane = HostileLane(self._host, self._address, self._context, role)
        self.lanes.append(lane)
        mine = Hello(
            version=1,
            oldest=1,
            box=branches.name(self._number),
            incarnation=self._incarnation,
            association=[self._incarnation, self._associations],
            begun=self._begun,
            role=int(role),
            features=["lz4", "zstd", "resume", "sound", "site"],
            prefixes=[branches.prefix(self._number)],
            offers={"0": self._cache.offer()},
        )
        lane.say(frames.hello(mine))
        theirs = frames.read_hello(lane.hear(Kind.HELLO))
        if not self._begun:
            self._cache.accept(theirs.offers["0"])
        self._begun = theirs.begun
        return lane

    def open(self, stream: int, server: tuple[str, int]) -> bytes:
        """An OPEN for a client of its own site."""
        client = branches.prefix(self._number).replace("0/24", "9")
        return frames.open_stream(Open(stream, (client, 1024 + stream % 60_000), server, 0, True))

    def block(self, stream: int, offset: int, raw: bytes) -> bytes:
        """A BLOCK that the other side can decode in any order: no window, no log."""
        coded = self._cache.encode(raw, effort=dedupe.Effort.DENSE, store=False, literal=True)
        return frames.block(stream, offset, 0, coded.wire)
