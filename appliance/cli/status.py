"""`branchline status`"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import asking, json_option, print_json, socket_option


@click.command()
@socket_option
@json_option
def status(socket_path: Path, as_json: bool) -> None:
    """The box, its peers and what they save, at a glance."""
    with asking(socket_path) as box:
        answer = box.call("status")
    if as_json:
        print_json([answer])
        return
    from appliance.cli import tables

    console = tables.console()
    for line in lines(answer):
        console.print(line, soft_wrap=True)
    if answer.get("peers"):
        console.print()
        console.print(peers(answer["peers"]))
        for peer in answer["peers"]:
            if peer.get("reason"):
                console.print(f"{peer.get('id', '')}: {peer['reason']}", soft_wrap=True)


def lines(answer: Mapping[str, Any]) -> list[Any]:
    """The part above the table of peers."""
    from appliance.cli import tables
    from appliance.cli.bypass import describe

    data, flows, events = (answer.get(key, {}) for key in ("data", "flows", "events"))
    age = tables.ago(data.get("since"))
    if data.get("up") and data.get("reason"):
        why = f" for {age}: {data['reason']}; new flows of its peers pass through"
        plane = tables.line("data plane  ", ("in part", "yellow"), why)
    elif data.get("up"):
        plane = tables.line("data plane  ", ("up", "green"), f" for {age}")
    else:
        why = f" for {age}: {data.get('reason', '')}; new flows pass through"
        plane = tables.line("data plane  ", ("down", "red"), why)
    up = f"branchline {answer.get('version', '')}, up for {tables.ago(answer.get('since'))}"
    counted = ", ".join(f"{events.get(severity, 0)} {severity}" for severity in ("error", "warning", "info"))
    shown = [
        tables.line((str(answer.get("box", "")), "bold"), f"  {up}, {answer.get('config', '')}"),
        plane,
        f"flows       {_count(flows.get('optimised'))} optimised, {_count(flows.get('passed'))} passed through",
        f"bytes       {_saved(answer)}",
        f"last hour   {counted} (`branchline events`)",
    ]
    refused = [f"{count} {name}" for name, count in answer.get("refused", {}).items() if count]
    if refused:
        shown.append(f"refused     {', '.join(refused)}")
    if any(answer.get("bypass", {}).values()):
        bypassed = (f"bypassed    {describe(answer['bypass'])}", "yellow")
        shown.append(tables.line(bypassed, "; `branchline bypass off` ends it"))
    limits = data.get("limits", {})
    if limits.get("draining_until"):
        left = max(0.0, limits["draining_until"] - time.time())
        text = f"draining    {limits.get('flows')} flows are still open; they have {left:.0f} s to end"
        shown.append(tables.line((text, "yellow"), "; new ones pass through"))
    return shown


def _saved(answer: Mapping[str, Any]) -> str:
    from appliance.cli import tables

    totals, reduction = answer.get("totals", {}), answer.get("reduction")
    lan = tables.both(totals.get("lan_in"), totals.get("lan_out"))
    wan = tables.both(totals.get("wan_in"), totals.get("wan_out"))
    saved = f", reduction {tables.percent(reduction)}" if reduction is not None else ""
    return f"LAN {tables.size(lan)}, WAN {tables.size(wan)}{saved}"


def peers(described: list[Mapping[str, Any]]) -> Any:
    """A line for each peer."""
    from appliance.cli import tables

    numbers = ("for", "paths", "RTT", "flows", "LAN", "WAN", "saved")
    made = tables.table("peer", "state", *numbers, "prefixes", right=numbers)
    for peer in described:
        made.add_row(
            str(peer.get("id", "")),
            tables.state(peer),
            tables.ago(peer.get("since")),
            _paths(peer.get("paths", ())),
            tables.duration(peer.get("rtt_s")),
            str(peer.get("streams", "")),
            tables.size(tables.both(peer.get("lan_in"), peer.get("lan_out"))),
            tables.size(tables.both(peer.get("wan_in"), peer.get("wan_out"))),
            tables.percent(peer.get("reduction")),
            "\n".join(peer.get("prefixes", ())),
        )
    return made


def _paths(described: Iterable[Mapping[str, Any]]) -> str:
    """How many are up, of how many."""
    states = [path.get("state") for path in described]
    return f"{states.count('up') + states.count('held')}/{len(states)}" if states else ""


def _count(value: object) -> str:
    if value is None:
        return "?"
    return "10000 or more" if value == 10_000 else str(value)  # where control stops counting
