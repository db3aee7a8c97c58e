"""What is at a peer's site: what it announces over the session, within what the configuration grants it. Pure.

A data centre may be the way to "10.0.0.0/8", of which it hosts one part and its other branches the rest. So a box
announces its own prefixes, and beside them those inside that are elsewhere: other peers' sites. A flow to these would
be between two branches, and passes through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.config import Config
from appliance.config.values import Address, Network, Prefix
from appliance.config.verify import MOST_PREFIXES, inside
from appliance.lanes.frames import FrameError, Site


@dataclass(frozen=True)
class Extent:
    """The networks of a site, and those inside them that are not of it."""

    networks: tuple[Network, ...]
    elsewhere: tuple[Network, ...] = ()

    def __contains__(self, address: Address) -> bool:
        """The longest prefix decides."""
        return _longest(self.networks, address) > _longest(self.elsewhere, address)


class Sites:
    """Both ends' sites, as a peer and this box have told each other."""

    def __init__(self) -> None:
        self.own = Site()  # what is announced
        self.home = Extent(())
        self.said: Site | None = None  # the peer's announcement,
        self.extent = Extent(())  # and its site, which is what of it was granted
        self._refused: list[str] = []

    def announce(self, site: Site) -> bool:
        """What the peer is to know of this site from now on; whether that is news."""
        if site == self.own:
            return False
        self.own, self.home = site, home(site)
        return True

    def hear(self, granted: Sequence[Prefix], said: Site | None) -> list[str]:
        """What the peer has said of its site, or what it is granted, is another; prefixes that count for nothing,
        if they are others than before."""
        found, refused = extent(granted, said)  # what cannot be read was not said
        before, self._refused = self._refused, refused
        self.said, self.extent = said, found
        return refused if refused != before else []

    def objection(self, server: str, client: str) -> str:
        """Why the peer may not have a connection opened to that server for that client: it reaches this site's
        hosts and no others."""
        if ipaddress.ip_address(server) not in self.home:
            return f"asks for {server}, which is outside this site's prefixes"
        if ipaddress.ip_address(client) not in self.extent:
            return f"speaks for {client}, which is not of its own site"
        return ""


def own(config: Config, peer: str) -> Site:
    """What this box announces to a peer: other sites are elsewhere, the peer's own is not worth a word."""
    mine = [prefix.network for prefix in config.box.prefixes]
    others = (prefix.network for other in config.peers if other.id != peer for prefix in other.prefixes)
    elsewhere = [network for network in others if any(inside(network, wide) for wide in mine)]
    return Site([str(network) for network in mine], [str(network) for network in elsewhere])


def home(site: Site) -> Extent:
    """The own site, of which one announces what `site` says."""
    return Extent(*(tuple(map(ipaddress.ip_network, texts)) for texts in (site.prefixes, site.elsewhere)))


def extent(granted: Sequence[Prefix], said: Site | None) -> tuple[Extent, list[str]]:
    """The site of a peer that has `said` so (None: nothing yet), and what of it was not granted, which counts for
    nothing. FrameError for what no box says."""
    grant = [prefix.network for prefix in granted]
    if said is None or not said.prefixes:
        return Extent(tuple(grant)), []
    announced, elsewhere = _networks(said.prefixes), _networks(said.elsewhere)
    refused = [
        str(network)
        for network in announced
        if not any(inside(network, wide) or inside(wide, network) for wide in grant)
    ]
    return Extent(_within(announced, grant), _within(elsewhere, grant)), refused


def _within(networks: Iterable[Network], bounds: Sequence[Network]) -> tuple[Network, ...]:
    """What two lists have in common; of two networks one is inside the other, or they share nothing."""
    found: dict[Network, None] = {}
    for network in networks:
        for bound in bounds:
            if inside(network, bound):
                found[network] = None
            elif inside(bound, network):
                found[bound] = None
    return tuple(found)


def _networks(texts: Sequence[str]) -> list[Network]:
    if len(texts) > MOST_PREFIXES:
        raise FrameError(f"{len(texts)} prefixes are announced, allowed are {MOST_PREFIXES}")
    try:
        return [ipaddress.ip_network(text) for text in texts]
    except ValueError as error:
        raise FrameError(f"an announced prefix is none: {error}") from error


def _longest(networks: Iterable[Network], address: Address) -> int:
    return max((network.prefixlen for network in networks if address in network), default=-1)
