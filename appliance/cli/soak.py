"""`branchline lab soak`: mixed real traffic through a pair for an hour, every byte compared."""

from __future__ import annotations

import json

import click

from appliance.cli import tables
from appliance.cli.parsed import Parsed
from appliance.config import units
from appliance.lab import LabError, rootless
from appliance.lab.soak.day import Outcome
from appliance.lab.soak.day import soak as run

SHORTEST = 60.0  # seconds


def duration(text: str) -> float:
    """Seconds; ValueError says what to write."""
    value = units.duration(text)
    if value < SHORTEST:
        raise ValueError(f'"{text}" is too short to see anything grow; write it like "1h" or "10min"')
    return value


@click.command("soak")
@click.option(
    "--for", "seconds", type=Parsed("TIME", duration), default="1h", show_default=True, help="How long."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a client and a figure.")
def soak(seconds: float, as_json: bool) -> None:
    """HTTP, SSH, SMB, git, rsync and SQL at once through one pair, while paths are cut and lanes killed.

    Every byte is compared. Exits 0 when none was wrong, no connection broke, memory stayed flat and nothing was left
    behind. Memory is flat when the median of the last quarter lies at most 4 MiB and 3 % above the second's.
    """
    try:
        rootless.ensure()
        outcome = run(seconds, lambda text: click.echo(text, err=True))
    except LabError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        for row in [row.as_json() for row in outcome.tallies] + [row.as_json() for row in outcome.figures]:
            click.echo(json.dumps(row))
    else:
        _show(outcome)
    if not outcome.ok:
        raise SystemExit(1)


def _show(outcome: Outcome) -> None:
    clients = tables.table(
        "client", "turns", "MB", "wrong", "broken", right=("turns", "MB", "wrong", "broken")
    )
    for tally in outcome.tallies:
        clients.add_row(
            tally.client, f"{tally.turns:,}", f"{tally.bytes / 1e6:,.1f}", str(tally.wrong), str(tally.broken)
        )
    figures = tables.table("name", "value", "unit", "limit", "", right=("value", "limit"))
    for figure in outcome.figures:
        name, value, unit, _, limit, verdict = figure.cells()
        figures.add_row(name, value, unit, limit, verdict)
    console = tables.console()
    console.print(clients)
    console.print(figures)
    for tally in outcome.tallies:
        for fault in tally.faults:
            console.print(f"{tally.client}: {fault}")
