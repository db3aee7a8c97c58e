"""`branchline events`"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import asking, json_option, print_json, socket_option
from appliance.config import units


class _Ago(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return units.duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--since", type=_Ago(), help='Only those of the last, say, "10min" or "2h".')
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="At most so many, the newest.",
)
@click.option(
    "--severity", type=click.Choice(["info", "warning", "error"]), default="info", help="At least so grave."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on.")
@socket_option
@json_option
def events(
    since: float | None, limit: int, severity: str, follow: bool, socket_path: Path, as_json: bool
) -> None:
    """What happened on this box, oldest first."""
    start = time.time() - since if since is not None else 0
    with asking(socket_path) as box:
        if follow:
            box.subscribe()
        _print(box.call("events", since=start, limit=limit, severity=severity), severity, as_json)
        if follow:
            for event in box.events():
                _print([event], severity, as_json)


def _print(trees: Iterable[Any], severity: str, as_json: bool) -> None:
    import msgspec

    from appliance.events import SEVERITIES, Event

    for tree in trees:
        event = msgspec.convert(tree, Event)
        if SEVERITIES.index(event.severity) < SEVERITIES.index(severity):
            continue
        if as_json:
            print_json([tree])
        else:
            click.echo(event.line())
