"""`branchline vm create`"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Failure, json_option, print_json, socket_option
from appliance.cli.vm.asking import ask

_LOOK_S = 0.5


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@socket_option
@json_option
def create(recipe: Path, socket_path: Path, as_json: bool) -> None:
    """Make a machine from a RECIPE (docs/VMHOST.md) and start it; if anything goes wrong, nothing is left of it."""
    try:
        text = recipe.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"{recipe}: cannot be read ({error.strerror})", 2) from None
    except UnicodeDecodeError as error:
        raise Failure(f"{recipe}: is not UTF-8 text (byte {error.start}); save it as UTF-8", 2) from None
    with ThreadPoolExecutor(1) as worker:
        making = worker.submit(ask, socket_path, "vm_create", recipe=text, file=str(recipe.absolute()))
        if not as_json:
            _show_progress(making, socket_path)
        answer = making.result()
    if as_json:
        print_json([answer])
        return
    slow = f", emulated: {answer['why']}" if answer["accelerator"] != "kvm" else ""
    click.echo(f"{answer['name']} runs{slow}")


def _show_progress(making: Future[Any], socket_path: Path) -> None:
    """A bar on standard error, if that is a terminal, until it is done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying disks", total=1.0)
        while True:
            try:
                making.exception(_LOOK_S)
            except NotYet:
                parts = [one["progress"] for one in ask(socket_path, "vm_list") if "progress" in one]
                bar.update(task, completed=min(parts, default=0.0))
                continue
            return
