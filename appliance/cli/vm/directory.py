"""`branchline vm create directory`"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Failure, json_option, print_json, socket_option
from appliance.cli.vm.asking import ask

_LOOK_S = 0.5


@click.command()
@click.option("--realm", required=True, help="The domain, like ad.example.com.")
@click.option(
    "--join", type=click.Choice(["rodc", "dc", "new"]), required=True, help="As what; new: a new domain."
)
@click.option(
    "--bundle", type=click.Path(path_type=Path, file_okay=False), required=True, help="The signed image."
)
@click.option(
    "--stage", type=click.Path(path_type=Path, dir_okay=False), help="The file that the centre has made."
)
@click.option("--bridge", required=True, help="Bridge of this box that the machine is plugged into.")
@click.option("--name", default="directory", show_default=True, help="Of the virtual machine.")
@click.option("--memory", default="1GiB", show_default=True)
@click.option("--vcpus", default=1, show_default=True)
@click.option("--data", default="16GiB", show_default=True, help="Size of the disk with all that changes.")
@click.option("--host", default="", help="Name of the controller (new; else it was staged).")
@click.option("--site", default="", help="Its site (new).")
@click.option("--address", default="", help="Its address, like 10.1.0.10/24 (new).")
@click.option("--gateway", default="", help="Its default gateway (new).")
@click.option("--resolver", "resolvers", multiple=True, help="DNS server for other names (new).")
@click.option("--time", multiple=True, help="NTP server (new).")
@socket_option
@json_option
def directory(bundle: Path, stage: Path | None, socket_path: Path, as_json: bool, **given: Any) -> None:
    """Make the branch's directory and wait until it answers; if anything goes wrong, nothing is left of it.

    docs/DIRECTORY.md says how the centre prepares it.
    """
    staged = None if stage is None else read_stage(stage)
    if staged is None and given["join"] != "new":
        raise Failure("--stage is needed: `branchline vm stage directory` at the centre makes it", 2)
    request = {"bundle": str(bundle.absolute()), "stage": staged, **given}
    answer = make(socket_path, as_json, given["name"], "vm_create_directory", request)
    if not as_json and "password" in answer:
        click.echo(
            f"the password of Administrator is in {answer['password']}; keep it elsewhere, then delete it"
        )


def read_stage(stage: Path) -> Any:
    """What a stage file says; Failure if it is none."""
    try:
        return json.loads(stage.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{stage}: cannot be read ({error.strerror})", 2) from None
    except ValueError:
        raise Failure(f"{stage}: is not a stage file; `branchline vm stage directory` makes one", 2) from None


def make(socket_path: Path, as_json: bool, name: str, method: str, request: dict[str, Any]) -> Any:
    """Have the directory `name` made, show how far it is, and then what it is; the answer."""
    with ThreadPoolExecutor(1) as worker:
        making = worker.submit(ask, socket_path, method, **request)
        if not as_json:
            _show_progress(making, socket_path, name)
        answer = making.result()
    if as_json:
        print_json([answer])
        return answer
    click.echo(f"{answer['host']} serves at {answer['address']}")
    for one in answer["health"]:
        click.echo(f"{one['name']:<12}{'ok' if one['ok'] else 'NOT OK'}: {one['evidence']}")
    return answer


def _show_progress(making: Future[Any], socket_path: Path, name: str) -> None:
    """A bar on standard error; if that is no terminal, a line for each step."""
    from rich.console import Console
    from rich.progress import Progress

    console, said = Console(stderr=True), ""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("beginning", total=1.0)
        while True:
            try:
                making.exception(_LOOK_S)
            except NotYet:
                told = ask(socket_path, "vm_directory_progress", name=name)
                if told and told["text"] != said:
                    said = told["text"]
                    bar.update(task, description=said, completed=told["part"] or 0.0)
                    if not console.is_terminal:
                        click.echo(said, err=True)
                continue
            return
