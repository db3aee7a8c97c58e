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
from appliance.config.verify import inside
from appliance.lanes.frames import FrameError, Site

MOST = 1000  # prefixes that one peer may announce


@dataclass(frozen=True)
class Extent:
    """The networks of a site, and those inside them that are not of it."""

    networks: tuple[Network, ...]
    elsewhere: tuple[Network, ...] = ()

    def __contains__(self, address: Address) -> bool:
        """The longest prefix decides."""
        return _longest(self.networks, address) > _longest(self.elsewhere, address)


def own(config: Config, peer: str) -> Site:
    """What this box announces to a peer: other sites are elsewhere, the peer's own is not worth a word."""
    mine = [prefix.network for prefix in config.box.prefixes]
    others = (prefix.network for other in config.peers if other.id != peer for prefix in other.prefixes)
    elsewhere = [network for network in others if any(inside(network, wide) for wide in mine)]
    return Site([str(network) for network in mine], [str(network) for network in elsewhere])


def home(site: Site) -> Extent:
    """The own site, of which one announces what `site` says."""
    return Extent(tuple(_networks(site.prefixes)), tuple(_networks(site.elsewhere)))


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
    if len(texts) > MOST:
        raise FrameError(f"{len(texts)} prefixes are announced, allowed are {MOST}")
    try:
        return [ipaddress.ip_network(text) for text in texts]
    except ValueError as error:
        raise FrameError(f"an announced prefix is none: {error}") from error


def _longest(networks: Iterable[Network], address: Address) -> int:
    return max((network.prefixlen for network in networks if address in network), default=-1)
