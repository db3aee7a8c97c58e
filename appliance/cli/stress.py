"""`branchline lab stress`: the runs behind what Branchline promises about many, small and urgent flows."""

from __future__ import annotations

import json

import click

from appliance.cli import tables
from appliance.lab import LabError, rootless
from appliance.lab.stress.figure import HEADINGS, Figure
from appliance.lab.stress.registry import SCENARIOS
from appliance.lab.tools import find


@click.command("stress")
@click.option(
    "--only", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="This one; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a figure on standard output.")
def stress(names: tuple[str, ...], as_json: bool) -> None:
    """Urgent messages under load, crowds of flows, loss: each figure beside a haproxy pair's and its limit.

    Takes about half an hour. Exits 0 when every figure is within its limit.
    """
    figures: list[Figure] = []
    failed = False
    try:
        find("haproxy")
        rootless.ensure()
        for name, measure in SCENARIOS.items():
            if names and name not in names:
                continue
            try:
                for figure in measure(_progress):
                    figures.append(figure)
                    if as_json:
                        click.echo(json.dumps(figure.as_json()))
            except LabError as error:
                failed = True
                _progress(f"{name}: {error}")
    except LabError as error:
        raise click.ClickException(str(error)) from error
    finally:  # after a Ctrl-C too: what has been measured is worth reading
        if figures and not as_json:
            _show(figures)
    if failed or not all(figure.ok for figure in figures):
        raise SystemExit(1)


def _show(figures: list[Figure]) -> None:
    table = tables.table(*HEADINGS, right=("value", "haproxy", "limit"))
    for figure in figures:
        table.add_row(*figure.cells())
    tables.console().print(table)


def _progress(text: str) -> None:
    click.echo(text, err=True)
