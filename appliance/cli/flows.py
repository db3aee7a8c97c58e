"""`branchline flows`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import asking, json_option, print_json, socket_option


@click.command()
@click.option(
    "--limit", type=click.IntRange(0, 10_000), default=1000, show_default=True, help="At most so many."
)
@click.option("--kind", type=click.Choice(["optimised", "passed"]), help="Only these.")
@socket_option
@json_option
def flows(limit: int, kind: str | None, socket_path: Path, as_json: bool) -> None:
    """TCP flows between sites: optimised, or passed and why."""
    with asking(socket_path) as box:
        answer = box.call("flows", limit=limit, kind=kind)
    if as_json:
        print_json(answer)
        return
    from appliance.cli import tables

    console = tables.console()
    console.print(table(answer))
    causes = {
        flow["reason"]: f"{flow.get('cause', '')}. {flow.get('remedy', '')}"
        for flow in answer
        if flow.get("reason")
    }
    for reason, cause in sorted(causes.items()):
        console.print(tables.line("\n", (reason, "bold"), f": {cause}"), soft_wrap=True)


def table(described: list[Mapping[str, Any]]) -> Any:
    """A line for each flow."""
    from appliance.cli import tables

    counters = ("LAN in", "LAN out", "WAN in", "WAN out")
    ends = ("client", "server", "peer", "kind", "why", "state")
    made = tables.table(*ends, "age", *counters, right=("age", *counters))
    for flow in described:
        made.add_row(
            tables.endpoint(flow.get("client")),
            tables.endpoint(flow.get("server")),
            str(flow.get("peer", "")),
            str(flow.get("kind", "")),
            str(flow.get("reason", "")),
            str(flow.get("state", "")),
            tables.duration(flow.get("age_s")),
            *(tables.size(flow.get(key)) for key in ("lan_in", "lan_out", "wan_in", "wan_out")),
        )
    return made
