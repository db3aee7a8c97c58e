"""What each WAN interface's shaper is to be: htb classes, and the rules that sort packets into them. Pure.

A link is shaped a little below its rate, so that what waits does so here, in a queue for each class, and not in
the provider's modem, where a click would wait behind a backup. At the box that dials, its own line is the narrow
place, so all that leaves by the interface shares the rate of its fastest path. At the box that is dialled, every
peer's line is narrow by itself; where its own line is written down too, peers that want more than it carries share it
evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.config.schema import Config, Path, Peer
from appliance.intercept.specs import BoxSpec
from appliance.intercept.statements import owners4, owners6
from appliance.marking import URGENT
from appliance.traffic import MAJOR, PART, Class, minor

TABLE: Final = "inet branchline_shaping"
UNLIMITED: Final = 4_000_000_000  # bytes/s; what htb counts in 32 bits
ROOT, OTHERS = 1, 2  # minor numbers: all of the interface, and what goes to no peer
ASSURED: Final = {Class.EXPRESS: 0.5, Class.INTERACTIVE: 0.2, Class.BULK: 0.25, Class.REST: 0.05}
OTHERS_ASSURED: Final = 0.05
QUEUE_S: Final = 0.03  # what may wait in a class, at its full rate
FEWEST, MOST = 16, 1000  # packets
PACKET: Final = 1514
SMALL: Final = 128  # bytes of a packet that carries an acknowledgement or a keystroke
DSCP: Final = ", ".join(URGENT)
PORTS: Final = (
    "22, 53, 88, 123, 389, 3389"  # somebody waits: SSH, DNS, Kerberos, time, directory, remote desktop
)


@dataclass(frozen=True)
class HtbClass:
    """parent: minor number, 0 for the qdisc. rate (assured) and ceil in bytes/s. queue: packets; 0: not a leaf."""

    minor: int
    parent: int
    rate: int
    ceil: int
    prio: int = 0
    queue: int = 0

    @property
    def burst(self) -> int:
        """Bytes that may leave at once: a millisecond's, and no less than two packets."""
        return max(2 * PACKET, round(self.ceil * 0.001))


@dataclass(frozen=True)
class Link:
    """The shaper of one interface."""

    interface: str
    classes: tuple[HtbClass, ...]


def links(config: Config, found: Mapping[tuple[str, str], int]) -> tuple[Link, ...]:
    """One for each WAN interface over which a rate is known; `found` are those, by peer and path, that nobody wrote."""
    made = []
    lines = config.box.wan_rates or (0,) * len(config.box.wan)
    for interface, rate in zip(map(str, config.box.wan), lines, strict=True):
        line = round(rate * PART)
        shares = dict(_shares(config, interface, found, line))
        if shares:
            made.append(Link(interface, tuple(_classes(shares, line))))
    return tuple(made)


def paths_of(peer: Peer) -> tuple[Path, ...]:
    """A box that is dialled need not know the paths; there is one at least."""
    return peer.paths or (Path(),)


def interface_of(config: Config, path: Path) -> str:
    """The interface by which a path leaves."""
    return str(path.interface or config.box.wan[0])


def _shares(
    config: Config, interface: str, found: Mapping[tuple[str, str], int], line: int
) -> Iterator[tuple[int, tuple[Peer, int]]]:
    """Number of a peer → the peer, and what may be sent to it by this interface, bytes/s; `line` where known."""
    for number, peer in enumerate(config.peers, 1):
        rates = [
            round(path.rate * PART) or found.get((str(peer.id), str(path.name)), 0) or line
            for path in paths_of(peer)
            if interface_of(config, path) == interface
        ]
        if any(rates):
            yield number, (peer, min(sum(rates), line or UNLIMITED))


def _classes(shares: Mapping[int, tuple[Peer, int]], line: int) -> Iterator[HtbClass]:
    dials = any(peer.dials for peer, _ in shares.values())
    total = max(rate for _, rate in shares.values()) if dials else line or UNLIMITED
    assured = min(1.0, total / sum(rate for _, rate in shares.values()))
    yield HtbClass(ROOT, 0, total, total)
    yield _leaf(OTHERS, ROOT, OTHERS_ASSURED, total, total, Class.REST)
    for number, (_, rate) in shares.items():
        own = round(rate * assured)
        yield HtbClass(minor(number), ROOT, own, rate)
        for traffic in Class:
            yield _leaf(minor(number, traffic), minor(number), ASSURED[traffic], own, rate, traffic)


def _leaf(number: int, parent: int, part: float, assured: int, ceil: int, traffic: Class) -> HtbClass:
    queue = min(max(round(ceil * QUEUE_S / PACKET), FEWEST), MOST)
    return HtbClass(number, parent, max(1000, round(assured * part)), ceil, traffic - 1, queue)


def rules(spec: BoxSpec, shaped: Sequence[Link]) -> str:
    """nftables text: the table that gives what passes through its class, replacing an older one."""
    chains, jumps = [], []
    numbers = {
        peer.index
        for peer in spec.peers
        for link in shaped
        if any(one.minor == minor(peer.index) for one in link.classes)
    }
    for number in sorted(numbers):
        chains.append(_peer_chain(number))
    for word, owned in (("ip", owners4(spec)), ("ip6", owners6(spec))):
        listed = ", ".join(
            f"{prefix} : goto peer_{peer.index}" for prefix, peer in owned if peer.index in numbers
        )
        if listed:
            jumps.append(f"    {word} daddr vmap {{ {listed} }}\n")
    names = ", ".join(f'"{link.interface}"' for link in shaped)
    return f"""\
add table {TABLE}
delete table {TABLE}
table {TABLE} {{
{"".join(chains)}\
  chain classify {{
    type filter hook postrouting priority mangle; policy accept;
    oifname != {{ {names} }} accept
    meta priority {MAJOR:x}:0-{MAJOR:x}:ffff accept
{"".join(jumps)}\
  }}
}}
"""


def _peer_chain(number: int) -> str:
    interactive, rest = (
        f"meta priority set {MAJOR:x}:{minor(number, traffic):x} accept"
        for traffic in (Class.INTERACTIVE, Class.REST)
    )
    return f"""\
  chain peer_{number} {{
    ip dscp {{ {DSCP} }} {interactive}
    ip6 dscp {{ {DSCP} }} {interactive}
    meta l4proto {{ icmp, ipv6-icmp }} {interactive}
    meta l4proto tcp meta length < {SMALL} {interactive}
    meta l4proto {{ tcp, udp }} th dport {{ {PORTS} }} {interactive}
    meta l4proto {{ tcp, udp }} th sport {{ {PORTS} }} {interactive}
    {rest}
  }}
"""
