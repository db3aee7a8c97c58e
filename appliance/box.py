"""What the peers of a data plane share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import dedupe
from appliance.config.schema import Limits
from appliance.events import Severity
from appliance.flows.buffers import Buffers
from appliance.flows.flow import Flow
from appliance.lanes.frames import Address, Site
from appliance.loop import Loop, Worker

if TYPE_CHECKING:
    import socket

    from appliance.peer import Peer


class Box(Protocol):
    """The data plane, as its peers see it."""

    loop: Loop
    worker: Worker
    buffers: Buffers
    incarnation: int

    @property
    def id(self) -> str: ...

    @property
    def heartbeat(self) -> float: ...

    def site(self, peer: str) -> Site: ...

    @property
    def limits(self) -> Limits: ...

    def admits(self, peer: str) -> bool: ...

    def full(self, peer: str) -> int: ...

    def number(self, peer: str) -> int: ...

    def emit(
        self, kind: str, severity: Severity, subject: str, text: str, evidence: dict[str, Any]
    ) -> None: ...

    def peer_changed(self, peer: Peer) -> None: ...

    def dial(
        self, client: Address, server: Address, source: Literal["client", "box"], dscp: int = 0
    ) -> socket.socket: ...

    def refuse(self, server: Address) -> None: ...

    def avoid(self, server: Address) -> None: ...

    def all_flows(self) -> Iterable[Flow]: ...

    def open_cache(self, peer: str, capacity: int, domain: int) -> dedupe.Cache: ...

    def close_cache(self, cache: dedupe.Cache) -> None: ...

    def cache_used(self, cache: dedupe.Cache) -> None: ...

    def prepare(self, caches: list[dedupe.Cache]) -> None: ...

    def rest(self, caches: list[dedupe.Cache]) -> None: ...
