"""What control answers, made from what it knows itself and what the data plane said: pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from appliance.applications import by_port
from appliance.bypass import Bypass
from appliance.config import Config
from appliance.events import SEVERITIES, Event
from appliance.intercept.passed import PassedFlow
from appliance.spread import number_of
from appliance.trust import Trust

Tree = dict[str, Any]


def reduction(totals: Mapping[str, Any]) -> float | None:
    """1 − WAN bytes / LAN bytes of a box's or a peer's counters; None before there were any."""
    lan = totals.get("lan_in", 0) + totals.get("lan_out", 0)
    wan = totals.get("wan_in", 0) + totals.get("wan_out", 0)
    return 1 - wan / lan if lan else None


def peers(
    config: Config, said: Iterable[Tree] | None, bypass: Bypass, trust: Trust, silent: Mapping[str, str]
) -> list[Tree]:
    """One entry for each configured peer: the data plane's, or what can be known without it.

    `silent`: why nothing was said of a peer, by its id.
    """
    described = {entry.get("id"): entry for entry in said or ()}
    found = []
    for peer in config.peers:
        state, reason = ("unknown", "the data plane does not know it yet")
        if str(peer.id) in silent:
            state, reason = "down", silent[str(peer.id)]
        if not trust.accepts(peer):
            state, reason = "revoked", "its key was revoked; take it out of the configuration"
        entry = described.get(str(peer.id)) or {
            "id": str(peer.id),
            "state": state,
            "reason": reason,
            "lanes": [],
        }
        found.append(
            {
                "prefixes": [str(prefix) for prefix in peer.prefixes],
                "bypassed": bypass.covers(peer.id),
                "underlay": "tunnel" if peer.tunnel else "private",
                "on_failure": peer.on_failure,
                "process": number_of(str(peer.id), config.box.processes),
                "reduction": reduction(entry),
                **entry,
            }
        )
    return found


def counts(events: Iterable[Event]) -> Tree:
    """How many events there are of each severity."""
    counted = Counter(event.severity for event in events)
    return {severity: counted[severity] for severity in SEVERITIES}


def passed(flow: PassedFlow, config: Config, now: float) -> Tree:
    """A flow that was left alone, like the flows that the data plane describes; `now` in seconds since 1970.

    Nobody has seen its bytes: the application is what is usual on the port.
    """
    application = by_port(flow.server[1])
    return {
        "client": list(flow.client),
        "server": list(flow.server),
        "peer": _behind(flow.server[0], config),
        "kind": "passed",
        "reason": flow.reason.name,
        "reason_number": flow.reason.number,
        "cause": flow.reason.cause,
        "remedy": flow.reason.remedy,
        "side": "client",
        "state": flow.state,
        "application": application.name,
        "protection": application.protection,
        "guessed": not application.certain,
        "age_s": max(0.0, now - flow.began) if flow.began else None,
        "lan_in": flow.bytes_up,
        "lan_out": flow.bytes_down,
        "wan_in": flow.bytes_down,
        "wan_out": flow.bytes_up,
    }


def _behind(address: str, config: Config) -> str:
    """Id of the peer that an address is behind, the longest prefix deciding; "" if there is none."""
    target = ipaddress.ip_address(address)
    found = [
        (prefix.network.prefixlen, str(peer.id))
        for peer in config.peers
        for prefix in peer.prefixes
        if target in prefix.network
    ]
    return max(found, default=(0, ""))[1]
