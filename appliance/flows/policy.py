"""What the rules of the configuration say about a flow that has been intercepted."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from appliance.config.schema import Config, Rule
from appliance.lanes.frames import Address
from appliance.marking import NUMBERS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Match:
    """The rule that a flow falls under, and how its bytes are treated."""

    name: str
    domain: int = 0
    store: bool = True
    dscp: int | None = None
    """None: as the client marks its packets."""


IMPLICIT = Match("known")


class Policy:
    """The rules of one configuration for one peer. The kernel tables hold the same decision; see `intercept`."""

    def __init__(self, config: Config, peer: str) -> None:
        self._rules = [
            (rule, _compiled(rule)) for rule in config.rules if not rule.peers or peer in rule.peers
        ]

    def match(self, server: Address) -> Match:
        """The first rule for that destination."""
        address, port = ipaddress.ip_address(server[0]), server[1]
        for rule, (ports, prefixes) in self._rules:
            if (not ports or any(first <= port <= last for first, last in ports)) and (
                not prefixes or any(address in prefix for prefix in prefixes)
            ):
                return Match(
                    str(rule.name), rule.domain, rule.store, NUMBERS.get(rule.dscp) if rule.dscp else None
                )
        return IMPLICIT


def _compiled(rule: Rule) -> tuple[list[tuple[int, int]], list[Network]]:
    return [ports.range for ports in rule.ports], [prefix.network for prefix in rule.prefixes]
