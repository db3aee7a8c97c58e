"""A box's key gives way to another while lanes and flows go on: the data plane's part, at both ends.

The box announces its next key over the sessions that its present key has proved. Each peer's control plane writes down
that it takes either, and says so; when all have, control puts the new key in place of the old, lanes are opened anew
beside those that carry the sessions, and a peer that sees the new key on them takes the old one no more. What was
written down before a crash is said again after it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.events import Severity
from appliance.identity import Identity, fingerprint, load_identity, next_path
from appliance.lanes.link import Role

if TYPE_CHECKING:  # the control plane has no use for the codec that comes with it
    from appliance.peer import Peer

ANNOUNCED = "key.announced"  # kinds of the events that control acts on
READY = "key.ready"
PROVED = "key.proved"

LONGEST = 8192  # characters of a key that anybody would announce
AGAIN_S = 30.0  # what is under way on a lane is sent again on the next: not more often than need be

Emit = Callable[[str, Severity, str, str, dict[str, object]], None]


class Rotation:
    """`keys(peer)` are the certificates that this box takes for a peer, the newest last."""

    def __init__(self, key: Path, keys: Callable[[Peer], tuple[bytes, ...]], emit: Emit) -> None:
        self._key = key
        self._keys = keys
        self._emit = emit
        self._redialled: dict[str, tuple[bytes, float]] = {}  # by peer: for which key, and when
        self._said: dict[
            tuple[str, str], str
        ] = {}  # the last key of each kind and peer that control was told of
        self.own = load_identity(key)
        self.next: Identity | None = None
        self.look()

    def look(self) -> bool:
        """Reads the key files again: whether the box's key is another now. IdentityError."""
        before = self.own
        self.own = load_identity(self._key)
        self.next = load_identity(next_path(self._key)) if next_path(self._key).exists() else None
        return before.certificate != self.own.certificate

    @property
    def announcement(self) -> str:
        """The next key, for a HELLO; "" if there is none."""
        return self.next.public if self.next is not None else ""

    def waiting(self, peers: Iterable[Peer]) -> list[str]:
        """Ids of the peers that have not said that they take the next key."""
        wanted = fingerprint(self.next.certificate) if self.next is not None else ""
        return [peer.id for peer in peers if peer.sites.said is None or peer.sites.said.accepts != wanted]

    def check(self, peers: list[Peer]) -> None:
        """To be called now and then, and when a peer has said something."""
        if self.next is not None:
            if not self.waiting(peers):
                self._once(READY, "", self.next.public, "every peer takes the new key")
            else:
                self._said.pop((READY, ""), None)
        for peer in peers:
            said = peer.sites.said.next_key if peer.sites.said is not None else ""
            keys = self._keys(peer)
            if 0 < len(said) <= LONGEST and _decoded(said) not in (b"", *keys):
                self._once(ANNOUNCED, peer.id, said, f"peer {peer.id} announces its next key")
            if not said and len(keys) > 1:
                self._renewed(peer, keys[-1])

    def _renewed(self, peer: Peer, key: bytes) -> None:
        """The peer has put its next key in place: lanes that still have the old one are opened anew."""
        lanes = peer.attachment.lanes
        if len(lanes) == len(Role) and all(lane.certificate == key for lane in lanes.values()):
            public = base64.b64encode(key).decode()
            self._once(PROVED, peer.id, public, f"peer {peer.id} has proved its new key on both its lanes")
            return
        last, at = self._redialled.get(peer.id, (b"", -math.inf))
        if key != last or peer.loop.now - at > AGAIN_S:
            self._redialled[peer.id] = key, peer.loop.now
            peer.attachment.redial()

    def _once(self, kind: str, peer: str, key: str, text: str) -> None:
        if self._said.get((kind, peer)) != key:
            self._said[kind, peer] = key
            self._emit(kind, "info", peer, text, {"peer": peer, "key": key})


def _decoded(public: str) -> bytes:
    try:
        return base64.b64decode(public, validate=True)
    except (binascii.Error, ValueError):
        return b""
