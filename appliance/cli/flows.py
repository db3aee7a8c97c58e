"""`branchline flows`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import asking, json_option, print_json, socket_option
from appliance.cli.choosing import MOST, SORTED_BY, Choice, End, choosing


@click.command()
@choosing
@click.option("--kind", type=click.Choice(["optimised", "passed"]), help="Only these.")
@click.option(
    "--sort", type=click.Choice(list(SORTED_BY)), help="The largest first: bytes, reduction, age, RTT."
)
@click.option(
    "--limit", type=click.IntRange(0, MOST), default=1000, show_default=True, help="At most so many."
)
@socket_option
@json_option
def flows(
    end: End | None,
    peer: str | None,
    application: str | None,
    reason: str | None,
    kind: str | None,
    sort: str | None,
    limit: int,
    socket_path: Path,
    as_json: bool,
) -> None:
    """TCP flows between sites: optimised, or passed and why.

    END is an address, a prefix, ADDRESS:PORT or :PORT that either end must have. With a ?, an application is only what
    is usual on the port.
    """
    choice = Choice(end, peer, application, reason)
    with asking(socket_path) as box:
        answer = box.call("flows", limit=limit if choice.all and not sort else MOST, kind=kind)
    chosen = choice.of(answer)
    if sort:
        chosen.sort(key=SORTED_BY[sort], reverse=True)
    del chosen[limit:]
    if as_json:
        print_json(chosen)
        return
    from appliance.cli import tables

    console = tables.console()
    console.print(table(chosen))
    causes = {
        flow["reason"]: f"{flow.get('cause', '')}. {flow.get('remedy', '')}"
        for flow in chosen
        if flow.get("reason")
    }
    for name, cause in sorted(causes.items()):
        console.print(tables.line("\n", (name, "bold"), f": {cause}"), soft_wrap=True)


def table(described: Sequence[Mapping[str, Any]]) -> Any:
    """A line for each flow."""
    from appliance.cli import tables

    numbers = ("age", "LAN", "WAN", "saved", "RTT LAN", "RTT WAN")
    made = tables.table(
        "client", "server", "application", "peer", *numbers, "lane, or why it passed", right=numbers
    )
    for flow in described:
        made.add_row(
            tables.endpoint(flow.get("client")),
            tables.endpoint(flow.get("server")),
            application_of(flow),
            str(flow.get("peer", "")),
            tables.duration(flow.get("age_s")),
            tables.size(tables.both(flow.get("lan_in"), flow.get("lan_out"))),
            tables.size(tables.both(flow.get("wan_in"), flow.get("wan_out"))),
            tables.percent(flow.get("reduction")),
            tables.duration(flow.get("lan_rtt_s")),
            tables.duration(flow.get("wan_rtt_s")),
            str(flow.get("reason") or _carried_by(flow)) + state_of(flow),
        )
    return made


def _carried_by(flow: Mapping[str, Any]) -> str:
    """ "bulk on leased", or "express" where the path has no name."""
    path = f" on {flow['path']}" if flow.get("path") else ""
    return f"{flow.get('lane', '')}{path}"


def application_of(flow: Mapping[str, Any]) -> str:
    """ "smb encrypted"; with a question mark when only the port says so."""
    guess = "?" if flow.get("guessed") else ""
    return f"{flow.get('application', '')}{guess} {flow.get('protection', '')}".rstrip()


def state_of(flow: Mapping[str, Any]) -> str:
    """What is worth saying of a state: that it is not simply open."""
    state = flow.get("state")
    return f", {state}" if state and state not in {"open", "established"} else ""
