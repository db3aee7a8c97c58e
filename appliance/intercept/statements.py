"""Phrases that both tables are made of: marks, matches of a rule, who owns which prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from appliance.intercept import marks
from appliance.intercept.prefixes import Network, disjoint
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec

SYN: Final = "tcp flags & (fin|syn|rst|ack) == syn"
FATE: Final = f"ct mark & {marks.FATE_MASK:#x}"


def set_mark(mark: int) -> str:
    """Statement: fate and reason of the flow, the upper half of the mark kept."""
    return f"ct mark set ct mark and {marks.OTHERS_MASK:#x} or {mark:#x}"


def pass_for(reason: int) -> str:
    """Statements: pass this flow, for ever, for `reason`."""
    return f"{set_mark(marks.passed(reason))} accept"


def owners4(spec: BoxSpec) -> list[tuple[IPv4Network, PeerSpec]]:
    """Disjoint IPv4 prefixes of the peers, the longest prefix's owner winning, this site's own cut out."""
    claims: list[tuple[IPv4Network, PeerSpec | None]] = [(prefix, None) for prefix in spec.prefixes4]
    claims += [(prefix, peer) for peer in spec.peers for prefix in peer.prefixes4]
    return [(prefix, peer) for prefix, peer in disjoint(claims) if peer is not None]


def owners6(spec: BoxSpec) -> list[tuple[IPv6Network, PeerSpec]]:
    """As `owners4`, for IPv6."""
    claims: list[tuple[IPv6Network, PeerSpec | None]] = [(prefix, None) for prefix in spec.prefixes6]
    claims += [(prefix, peer) for peer in spec.peers for prefix in peer.prefixes6]
    return [(prefix, peer) for prefix, peer in disjoint(claims) if peer is not None]


def matches(rule: RuleSpec) -> list[tuple[str, str]]:
    """What selects a rule's flows: ("", match) for both address families, or one match each for "ip" and "ip6"."""
    ports = ""
    if rule.ports:
        ranges = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in merged(rule.ports))
        ports = f"tcp dport {{ {ranges} }}"
    selected = []
    for word, networks in (("ip", _joined(rule.prefixes4)), ("ip6", _joined(rule.prefixes6))):
        if networks:
            selected.append((word, f"{word} daddr {{ {networks} }} {ports}".rstrip()))
    return selected or [("", ports)]


def _joined(prefixes: Iterable[Network]) -> str:
    return ", ".join(str(prefix) for prefix, _ in disjoint((prefix, None) for prefix in prefixes))


def merged(ports: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Inclusive port ranges, sorted, with overlapping and adjacent ones joined (kernel sets refuse overlaps)."""
    current: tuple[int, int] | None = None
    for low, high in sorted(ports):
        if current is not None and low <= current[1] + 1:
            current = current[0], max(current[1], high)
            continue
        if current is not None:
            yield current
        current = low, high
    if current is not None:
        yield current


def add_elements(table: str, name: str, elements: Iterable[str]) -> list[str]:
    """The command that fills a set or map, or nothing where there is nothing to fill in."""
    listed = ", ".join(elements)
    return [f"add element {table} {name} {{ {listed} }}"] if listed else []
