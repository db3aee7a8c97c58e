"""What the kernel rules are made from: the part of the configuration and of the peers' state they need."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from appliance.flows import reasons


@dataclass(frozen=True)
class RuleSpec:
    """One policy rule, as it applies to one peer. Rules are tried in order, the first match decides."""

    name: str
    """The rule's name in the configuration."""
    index: int
    """Its place in the configuration, from 0; unique within a peer."""
    action: Literal["optimise", "pass"]
    eager: bool = False
    """Intercept from a destination's first flow on; else only destinations seen to answer."""
    ports: tuple[tuple[int, int], ...] = ()
    """Inclusive ranges of destination ports; empty = all."""
    prefixes4: tuple[IPv4Network, ...] = ()
    prefixes6: tuple[IPv6Network, ...] = ()
    """Narrows the peer's prefixes. Both empty = all of them; one empty = nothing of that family."""
    bypass: bool = False
    """Switched off by an administrator."""
    closed: bool = False
    """What this rule would optimise never passes plainly: it is intercepted (from the first flow) or reset."""


@dataclass(frozen=True)
class PeerSpec:
    """One peer."""

    index: int
    """From 1; names the peer's chain, so it should stay the same while the peer is configured."""
    id: str
    prefixes4: tuple[IPv4Network, ...] = ()
    prefixes6: tuple[IPv6Network, ...] = ()
    site: tuple[IPv4Network | IPv6Network, ...] | None = None
    """What of its prefixes the peer says are its own site's; None = all of them."""
    elsewhere: tuple[IPv4Network | IPv6Network, ...] = ()
    """What of that is at another site: flows there would be between two branches."""
    port4: int | None = None
    port6: int | None = None
    """Ports of the peer's listeners; None = closed, its new flows pass."""
    rules: tuple[RuleSpec, ...] = ()
    """At the end stands an implicit one: optimise every known destination."""
    bypass: bool = False
    closed: bool = False
    """`closed` of the implicit rule."""
    public: tuple[str, ...] = ()
    """WAN interfaces by which the way to this peer is public: its prefixes are never forwarded plainly there."""
    small: bool = False
    """Large packets get lost on the way to it, and nobody says so: what passes uses small ones."""
    down_reason: int = reasons.PEER_DOWN
    """Why its flows pass while the listener is closed."""
    full: int | None = None
    """Why new flows pass while it is open: those that were intercepted before still come in."""
    here: bool = True
    """Whether this data process has the peer; another's flows are left to it."""


@dataclass(frozen=True)
class BoxSpec:
    """One box: both the client's side and the server's, for all its peers."""

    lan: tuple[str, ...]
    own_ports: tuple[int, ...] = ()
    peers: tuple[PeerSpec, ...] = ()
    prefixes4: tuple[IPv4Network, ...] = ()
    prefixes6: tuple[IPv6Network, ...] = ()
    """This site's own prefixes: never a peer's, even where they lie inside a peer's wider one."""
    part: int = 1
    """Number of the data process that the table is for."""
    shared: bool = False
    """Whether there are others."""
