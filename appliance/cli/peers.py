"""`branchline peers`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Failure, asking, json_option, print_json, socket_option


@click.command()
@click.argument("peer", required=False)
@socket_option
@json_option
def peers(peer: str | None, socket_path: Path, as_json: bool) -> None:
    """The peers in detail, or one PEER."""
    with asking(socket_path) as box:
        answer = box.call("peers")
    if peer is not None:
        known = ", ".join(entry["id"] for entry in answer) or "none"
        answer = [entry for entry in answer if entry["id"] == peer]
        if not answer:
            raise Failure(f'there is no peer "{peer}"; the peers are: {known}', 2)
    if as_json:
        print_json(answer)
        return
    from appliance.cli import tables

    console = tables.console()
    for entry in answer:
        for line in lines(entry):
            console.print(line, soft_wrap=True)
        if entry.get("paths"):
            console.print(paths(entry["paths"]))
        if entry.get("lanes"):
            console.print(lanes(entry["lanes"]))
        console.print()


def lines(peer: Mapping[str, Any]) -> list[Any]:
    """What there is to say of one peer, above its lanes."""
    from appliance.cli import tables

    since = tables.ago(peer.get("since"))
    why = f": {peer['reason']}" if peer.get("reason") else ""
    facts = {
        "RTT": tables.duration(peer.get("rtt_s")),
        "protocol": str(peer.get("version") or ""),
        "incarnation": str(peer.get("incarnation") or ""),
        "prefixes": " ".join(peer.get("prefixes", ())),
        "announces": " ".join(peer.get("announced", ())),
        "policy": f"{peer.get('underlay', '')} underlay, on failure {peer.get('on_failure', '')}",
        "flows": _flows(peer),
        "switches": str(peer.get("switches") or ""),
        "LAN": f"{tables.size(peer.get('lan_in'))} in, {tables.size(peer.get('lan_out'))} out",
        "WAN": f"{tables.size(peer.get('wan_in'))} in, {tables.size(peer.get('wan_out'))} out",
        "reduction": tables.percent(peer.get("reduction")),
    }
    age = f" for {since}" if since else ""
    head = (
        tables.line((str(peer.get("id", "")), "bold"), "  ").append_text(tables.state(peer)).append(age + why)
    )
    return [head, *(f"  {name:<12}{fact}" for name, fact in facts.items() if fact.strip(" ,inout"))]


def paths(described: list[Mapping[str, Any]]) -> Any:
    """A line for each path."""
    from appliance.cli import tables
    from appliance.config.units import show_rate

    made = tables.table(
        "  path", "state", "use", "RTT", "cost", "rate", "remote", right=("RTT", "cost", "rate")
    )
    for path in described:
        use = "in use" if path.get("used") else "metered standby" if path.get("metered") else "standby"
        why = f": {path['reason']}" if path.get("reason") else ""
        made.add_row(
            f"  {path.get('name', '')}",
            tables.state(path).append(why),
            use,
            tables.duration(path.get("rtt_s")),
            str(path.get("cost", "")),
            show_rate(path["rate"]) if path.get("rate") else "",
            _remote(path.get("remote")),
        )
    return made


def lanes(described: list[Mapping[str, Any]]) -> Any:
    """A line for each lane."""
    from appliance.cli import tables

    made = tables.table(
        "  lane", "path", "use", "remote", "in", "out", "waiting", right=("in", "out", "waiting")
    )
    for lane in described:
        made.add_row(
            f"  {lane.get('name', '')}",
            str(lane.get("path", "")),
            "carries" if lane.get("carries") else "standby",
            _remote(lane.get("remote")),
            tables.size(lane.get("bytes_in")),
            tables.size(lane.get("bytes_out")),
            tables.size(lane.get("backlog")),
        )
    return made


def _remote(value: object) -> str:
    """Where a lane leads: "host port" from the data plane."""
    from appliance.cli import tables

    return tables.endpoint(value.split(" ") if isinstance(value, str) else value)


def _flows(peer: Mapping[str, Any]) -> str:
    names = {"streams": "open", "finished": "finished", "aborted": "aborted"}
    return ", ".join(f"{peer[key]} {word}" for key, word in names.items() if key in peer)
