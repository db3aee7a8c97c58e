"""Which flows a command is about. Pure: plain values as the box describes flows."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from appliance.cli.asking import Command
from appliance.cli.parsed import Parsed

Described = Mapping[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST: Final = 10_000  # flows that a box lists


def _bytes(*keys: str) -> Callable[[Described], float]:
    return lambda flow: float(sum(flow.get(key) or 0 for key in keys))


SORTED_BY: Final[dict[str, Callable[[Described], float]]] = {
    "lan": _bytes("lan_in", "lan_out"),
    "wan": _bytes("wan_in", "wan_out"),
    "reduction": lambda flow: -1.0 if flow.get("reduction") is None else float(flow["reduction"]),
    "age": lambda flow: float(flow.get("age_s") or 0),
    "rtt": lambda flow: float(flow.get("lan_rtt_s") or 0),
}
"""The largest come first."""


@dataclass(frozen=True)
class End:
    """One end of a flow: addresses, a port, or both; None leaves it open."""

    network: Network | None
    port: int | None

    def at(self, end: object) -> bool:
        """Whether [host, port] is one of these."""
        if not isinstance(end, list | tuple) or len(end) != 2:
            return False
        host, port = end
        if self.port is not None and port != self.port:
            return False
        return self.network is None or ipaddress.ip_address(host) in self.network


def end(text: str) -> End:
    """HOST, PREFIX, HOST:PORT or :PORT. ValueError says what to write."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        network = ipaddress.ip_network(host, strict=False) if host else None
        return End(network, int(port) if port else None)
    except ValueError:
        raise ValueError(
            f'"{text}" is not an address; write it like 10.2.0.9, 10.2.0.0/16, 10.2.0.9:445 or :445'
        ) from None


@dataclass(frozen=True)
class Choice:
    """Flows that have all of what is not None."""

    end: End | None = None
    peer: str | None = None
    application: str | None = None
    reason: str | None = None

    @property
    def all(self) -> bool:
        return self == Choice()

    def of(self, flows: Iterable[Described]) -> list[Described]:
        return [flow for flow in flows if self._takes(flow)]

    def _takes(self, flow: Described) -> bool:
        for key, wanted in (("peer", self.peer), ("application", self.application), ("reason", self.reason)):
            if wanted is not None and flow.get(key) != wanted:
                return False
        return self.end is None or self.end.at(flow.get("client")) or self.end.at(flow.get("server"))


def choosing(command: Command) -> Command:
    """The options that make a Choice, and END as an argument."""
    for option in (
        click.option("--reason", help="Only flows that passed for this reason (docs/REASONS.md)."),
        click.option("--application", help="Only this application: smb, http, ssh, …"),
        click.option("--peer", help="Only flows with this peer."),
        click.argument("end", required=False, type=Parsed("END", end)),
    ):
        command = option(command)
    return command
