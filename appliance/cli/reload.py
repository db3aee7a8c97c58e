"""`branchline reload`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import asking, json_option, print_json, socket_option


@click.command()
@socket_option
@json_option
def reload(socket_path: Path, as_json: bool) -> None:
    """Read the configuration file again and put it in force.

    If anything is wrong with it, nothing is changed. Flows that the change does not concern go on.
    """
    with asking(socket_path) as box:
        answer = box.call("reload")
    if as_json:
        print_json([answer])
    else:
        click.echo(f"changed: {answer['changed']}")
        if answer.get("data") == "not running":
            click.echo("the data plane is not running; it will start with this configuration")
