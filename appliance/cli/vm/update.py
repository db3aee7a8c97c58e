"""`branchline vm update`"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import click

from appliance.cli.asking import json_option, print_json, socket_option
from appliance.cli.vm.asking import ask

_LOOK_S = 0.5


@click.command()
@click.argument("name")
@click.argument("bundle", type=click.Path(path_type=Path))
@socket_option
@json_option
def update(name: str, bundle: Path, socket_path: Path, as_json: bool) -> None:
    """Let the machine NAME run the system of BUNDLE, a directory that `branchline vm build` has made.

    It is shut down and boots the new system with the data that it has. If that does not say that it is done, and
    serve as before by the checks of the recipe, within 15 minutes, the machine runs the system it had again.
    """
    from rich.console import Console
    from rich.progress import Progress

    with (
        ThreadPoolExecutor(1) as worker,
        Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar,
    ):
        updating = worker.submit(ask, socket_path, "vm_update", name=name, bundle=str(bundle.absolute()))
        task = bar.add_task("asking the box", total=1.0)
        while True:
            try:
                updating.exception(_LOOK_S)
            except NotYet:
                said = ask(socket_path, "vm_updates").get(name)
                if said is not None:
                    bar.update(task, description=said["text"], completed=said["part"] or 0.0)
                continue
            break
    answer = updating.result()
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{name} runs version {answer['to']}; it ran {answer['from']} before")
