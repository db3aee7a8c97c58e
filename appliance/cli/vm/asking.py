"""What the commands about virtual machines have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Command, asking, json_option, print_json, socket_option

PATIENCE_S = 4 * 3600.0  # a large image on a slow disk


def named(command: Command) -> Command:
    """NAME, --socket and --json."""
    for option in (click.argument("name"), socket_option, json_option):
        command = option(command)
    return command


def ask(socket_path: Path, method: str, **params: object) -> Any:
    """A request of the box, which may take long."""
    with asking(socket_path, timeout=PATIENCE_S) as box:
        return box.call(method, **params)


def done(answer: Mapping[str, Any], as_json: bool) -> None:
    """A machine's name and its state, after something was done with it."""
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{answer['name']}: {answer['state']}")
