"""Longest prefix wins: overlapping prefixes of several owners made disjoint, as kernel maps want them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import TypeVar

Network = TypeVar("Network", IPv4Network, IPv6Network)
Owner = TypeVar("Owner")


def disjoint(claims: Iterable[tuple[Network, Owner]]) -> list[tuple[Network, Owner]]:
    """Splits the claimed networks so that every address belongs to the owner of its longest prefix.

    Of two owners of the very same prefix the first wins. The result is sorted, disjoint, and covers exactly
    what was claimed.
    """
    settled: dict[Network, Owner] = {}
    for network, owner in claims:
        settled.setdefault(network, owner)
    result: list[tuple[Network, Owner]] = []
    stack: list[
        tuple[Network, Owner, int]
    ] = []  # enclosing networks, and where each one's unclaimed rest begins

    def close(upto: int | None) -> None:
        """Emits the rest of enclosing networks that end before address `upto`."""
        while stack and (upto is None or int(stack[-1][0].broadcast_address) < upto):
            network, owner, begin = stack.pop()
            end = int(network.broadcast_address)
            result.extend((part, owner) for part in _cover(network, begin, end))
            if stack:
                outer, outer_owner, _ = stack[-1]
                stack[-1] = (outer, outer_owner, end + 1)

    for network in sorted(settled, key=lambda n: (int(n.network_address), n.prefixlen)):
        begin = int(network.network_address)
        close(begin)
        if stack:
            outer, outer_owner, unclaimed = stack[-1]
            result.extend((part, outer_owner) for part in _cover(outer, unclaimed, begin - 1))
        stack.append((network, settled[network], begin))
    close(None)
    return result


def _cover(like: Network, first: int, last: int) -> Iterable[Network]:
    """The fewest networks, of the family of `like`, that hold exactly the addresses first..last."""
    width = like.max_prefixlen
    while first <= last:
        bits = (first & -first).bit_length() - 1 if first else width
        bits = min(bits, (last - first + 1).bit_length() - 1)
        yield type(like)((first, width - bits))
        first += 1 << bits
