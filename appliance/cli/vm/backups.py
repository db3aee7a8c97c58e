"""`branchline vm backup`, `backups`, `verify` and `restore`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import json_option, print_json, socket_option
from appliance.cli.vm.asking import ask, named
from appliance.cli.vm.directory import make, read_stage
from appliance.cli.vm.progress import ask_with_bar

_HOW = {
    "frozen": "its file systems were frozen by its agent",
    "crash": "as after a power cut",
    "off": "it was off",
}
_to = click.option(
    "--to", default="", metavar="DIRECTORY", help="Where the backups are; the recipe knows others."
)


def _absolute(to: str) -> str:
    return str(Path(to).absolute()) if to and "://" not in to else to


@click.command()
@named
@_to
@click.option("--cancel", is_flag=True, help="Give up the backup that is under way.")
def backup(name: str, socket_path: Path, as_json: bool, to: str, cancel: bool) -> None:
    """Take a backup of a machine: all of its disks at one point in time, while it runs or is off."""
    if cancel:
        answer = ask(socket_path, "vm_backup_cancel", name=name)
        if as_json:
            print_json([answer])
        else:
            click.echo(f"the backup of {name} is given up")
        return
    if as_json:
        print_json([ask(socket_path, "vm_backup", name=name, to=_absolute(to))])
        return
    answer = ask_with_bar(socket_path, "backing up", "backing_up", "vm_backup", name=name, to=_absolute(to))
    why = f" ({answer['why']})" if answer["why"] else ""
    click.echo(f"{name} is backed up: {answer['path']}, {_HOW[answer['consistency']]}{why}")


@click.command()
@click.argument("name", default="")
@_to
@socket_option
@json_option
def backups(name: str, socket_path: Path, as_json: bool, to: str) -> None:
    """The backups of a machine, or of all."""
    answer = ask(socket_path, "vm_backups", name=name, to=_absolute(to))
    if as_json:
        print_json(answer)
        return
    from appliance.cli import tables

    if not answer:
        click.echo("there are no backups; `branchline vm backup NAME` takes one")
        return
    made = tables.table("vm", "backup", "size", "consistency", "proved", "path", right=("size",))
    for one in answer:
        proved = {None: "", True: "yes", False: "NO GOOD"}[one["proved"]]
        made.add_row(
            one["vm"], one["backup"], tables.size(one["size"]), one["consistency"], proved, one["path"]
        )
    tables.console().print(made)


@click.command()
@named
@click.argument("backup", default="latest")
@_to
@click.option("--boot", is_flag=True, help="Boot a twin from it that cannot meet anybody, too.")
@click.option(
    "--sign", default="", help='What its console says when it is up and has no agent; "login:" if left out.'
)
def verify(name: str, backup: str, socket_path: Path, as_json: bool, to: str, boot: bool, sign: str) -> None:
    """Check a BACKUP of machine NAME: its stamp, its path, or the latest. The backup itself is not changed."""
    answer = ask(
        socket_path, "vm_verify", name=name, backup=_named(backup), to=_absolute(to), boot=boot, sign=sign
    )
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{answer['path']} is good: {answer['how']}")


@click.command()
@named
@click.argument("backup")
@_to
@click.option("--as", "new_name", default="", metavar="NEW", help="Make a new machine of this name.")
@click.option(
    "--stage",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of a directory that joins again: the file that the centre has made anew.",
)
@click.option("--host", default="", help="Of a directory's whole domain: another name for its controller.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    help="The signed image; the recipe knows one.",
)
def restore(
    name: str,
    backup: str,
    socket_path: Path,
    as_json: bool,
    to: str,
    new_name: str,
    stage: Path | None,
    host: str,
    bundle: Path | None,
) -> None:
    """Make machine NAME as it was in a BACKUP (its stamp, its path, or "latest") and start it.

    The disks that it has are kept aside. A directory server's disk never comes back: it is made again, from what the
    centre has (--stage), or as the only one of its domain (--host). Without them you are told what is needed.
    """
    request: dict[str, Any] = {
        "name": name,
        "backup": _named(backup),
        "to": _absolute(to),
        "new_name": new_name,
        "host": host,
        "bundle": "" if bundle is None else str(bundle.absolute()),
    }
    if stage is not None:
        request["stage"] = read_stage(stage)
    if stage is not None or host:
        answer = make(socket_path, as_json, name, "vm_restore", request)
        if not as_json and answer["kept"]:
            click.echo(f"the disks that it had are in {answer['kept']}; never boot them, delete them")
        return
    if as_json:
        print_json([ask(socket_path, "vm_restore", **request)])
        return
    answer = ask_with_bar(socket_path, "restoring", "progress", "vm_restore", **request)
    kept = f"; the disks that it had are in {answer['kept']}" if answer["kept"] else ""
    click.echo(f"{answer['name']} runs as it was{kept}")


def _named(backup: str) -> str:
    return str(Path(backup).absolute()) if "/" in backup else backup
