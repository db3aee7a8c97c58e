"""`branchline config`"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import click

from appliance.cli.asking import Failure, asking, json_option, print_json, socket_option
from appliance.config import ConfigError, load, to_dict


@click.group()
def config() -> None:
    """Check a configuration file, or print an example."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--elsewhere", is_flag=True, help="The file is for another machine: its key file is not looked for."
)
@json_option
def check(file: Path, elsewhere: bool, as_json: bool) -> None:
    """Say what is wrong with FILE, or that it is good. Nothing is changed."""
    try:
        wanted = load(file, files=not elsewhere)
    except ConfigError as error:
        if as_json:
            print_json(
                [
                    {
                        "ok": False,
                        "file": error.file,
                        "key": error.key,
                        "problem": error.problem,
                        "remedy": error.remedy,
                    }
                ]
            )
        raise Failure(str(error), 2) from None
    if as_json:
        print_json([{"ok": True, "file": str(file), "config": to_dict(wanted)}])
    else:
        click.echo(f"{file}: good; box {wanted.box.id}, {len(wanted.peers)} peers, {len(wanted.rules)} rules")


@config.command()
@click.argument("site", type=click.Choice(["branch", "datacentre"]), default="branch")
def example(site: str) -> None:
    """Print a commented configuration of a branch or a data centre, to start from."""
    click.echo((resources.files("appliance.config") / "examples" / f"{site}.toml").read_text(), nl=False)


@config.command()
@socket_option
@json_option
def show(socket_path: Path, as_json: bool) -> None:
    """Print the configuration that is in force, as JSON: sizes in bytes, times in seconds."""
    with asking(socket_path) as box:
        answer = box.call("config")
    if as_json:
        print_json([answer])
    else:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
