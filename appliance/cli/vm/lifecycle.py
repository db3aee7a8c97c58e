"""`branchline vm start`, `stop`, `restart`, `kill` and `delete`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import print_json
from appliance.cli.vm.asking import ask, done, named


@click.command()
@named
def start(name: str, socket_path: Path, as_json: bool) -> None:
    """Start a machine that is off."""
    done(ask(socket_path, "vm_start", name=name), as_json)


@click.command()
@named
def stop(name: str, socket_path: Path, as_json: bool) -> None:
    """Shut the guest down and wait, as long as the recipe's `stop_within`."""
    done(ask(socket_path, "vm_stop", name=name), as_json)


@click.command()
@named
def kill(name: str, socket_path: Path, as_json: bool) -> None:
    """End a machine as pulling its plug would."""
    done(ask(socket_path, "vm_kill", name=name), as_json)


@click.command()
@named
def restart(name: str, socket_path: Path, as_json: bool) -> None:
    """Shut the guest down orderly and start it again."""
    done(ask(socket_path, "vm_restart", name=name), as_json)


@click.command()
@named
@click.option("--disks", is_flag=True, help="Delete its disks as well; they are kept otherwise.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, socket_path: Path, as_json: bool, disks: bool, yes: bool) -> None:
    """Forget a machine that is off. Its disks are kept unless --disks is given."""
    if not yes:
        what = "and ALL THAT IS ON ITS DISKS" if disks else "; its disks are kept"
        click.confirm(f"Delete {name} {what}?", abort=True, err=True)
    answer = ask(socket_path, "vm_delete", name=name, disks=disks)
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{name} is deleted" + (f"; its disks are in {answer['kept']}" if answer["kept"] else ""))
