"""`branchline vm`"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Command, Failure, asking, json_option, print_json, socket_option

PATIENCE_S = 4 * 3600.0  # a large image on a slow disk
_LOOK_S = 0.5
_GUESTS = {"kvm": "run at full speed (KVM)", "tcg": "are emulated, many times slower (TCG)"}


@click.group()
def vm() -> None:
    """The virtual machines of this box, in libvirt's care."""


def _named(command: Command) -> Command:
    for option in (click.argument("name"), socket_option, json_option):
        command = option(command)
    return command


def _ask(socket_path: Path, method: str, **params: object) -> Any:
    with asking(socket_path, timeout=PATIENCE_S) as box:
        return box.call(method, **params)


@vm.command()
@socket_option
@json_option
def host(socket_path: Path, as_json: bool) -> None:
    """What this box can do for virtual machines, and why not more."""
    answer = _ask(socket_path, "vm_host")
    if as_json:
        print_json([answer])
        return
    from appliance.cli import tables

    libvirt = answer["libvirt"]
    click.echo(f"libvirt     {libvirt['version'] if libvirt['up'] else libvirt['why']}")
    for arch, guest in answer["guests"].items():
        how = _GUESTS.get(guest["accelerator"], "cannot run")
        click.echo(f"{arch:<12}guests {how}{': ' + guest['why'] if guest['why'] else ''}")
    click.echo(f"processors  {answer['cpus']}")
    click.echo(f"memory      {tables.size(answer['memory_left'])} to spare")
    click.echo(f"disk        {tables.size(answer['disk_left'])} to spare in {answer['directory']}")


@vm.command(name="list")
@socket_option
@json_option
def list_machines(socket_path: Path, as_json: bool) -> None:
    """All machines and their states."""
    answer = _ask(socket_path, "vm_list")
    if as_json:
        print_json(answer)
        return
    from appliance.cli import tables

    if not answer:
        click.echo("there are no virtual machines here; `branchline vm create RECIPE` makes one")
        return
    made = tables.table("name", "state", "autostart", "memory", "vcpus", "arch", right=("memory", "vcpus"))
    for one in answer:
        part = f" {tables.percent(one['progress'])}" if "progress" in one else ""
        made.add_row(
            one["name"],
            one["state"] + part,
            "yes" if one.get("autostart") else "",
            tables.size(one.get("memory")),
            str(one.get("vcpus", "")),
            one.get("arch", ""),
        )
    tables.console().print(made)


@vm.command()
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
        making = worker.submit(_ask, socket_path, "vm_create", recipe=text, file=str(recipe.absolute()))
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
                parts = [one["progress"] for one in _ask(socket_path, "vm_list") if "progress" in one]
                bar.update(task, completed=min(parts, default=0.0))
                continue
            return


@vm.command()
@click.argument("ova", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def unpack(ova: Path, directory: Path, as_json: bool) -> None:
    """Make a DIRECTORY with the disks of an OVA and a recipe to read over, then to `create` from.

    The manifest is verified; what of the hardware has no place in a recipe is listed.
    """
    from rich.console import Console
    from rich.progress import Progress

    from vmhost.errors import VmError
    from vmhost.ova import unpack as unpacked

    try:
        with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
            task = bar.add_task("unpacking", total=1.0)
            found = unpacked(ova, directory.absolute(), lambda part: bar.update(task, completed=part))
    except VmError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json([{"recipe": str(found.recipe), "verified": found.verified, "unmapped": found.unmapped}])
        return
    click.echo(f"recipe: {found.recipe}")
    if not found.verified:
        click.echo("not verified: there is no manifest in it")
    for one in found.unmapped:
        click.echo(f"left out: {one}")


@vm.command()
@_named
def start(name: str, socket_path: Path, as_json: bool) -> None:
    """Start a machine that is off."""
    _done(_ask(socket_path, "vm_start", name=name), as_json)


@vm.command()
@_named
def stop(name: str, socket_path: Path, as_json: bool) -> None:
    """Shut the guest down and wait, as long as the recipe's `stop_within`."""
    _done(_ask(socket_path, "vm_stop", name=name), as_json)


@vm.command()
@_named
def kill(name: str, socket_path: Path, as_json: bool) -> None:
    """End a machine as pulling its plug would."""
    _done(_ask(socket_path, "vm_kill", name=name), as_json)


@vm.command()
@_named
def restart(name: str, socket_path: Path, as_json: bool) -> None:
    """Shut the guest down orderly and start it again."""
    _done(_ask(socket_path, "vm_restart", name=name), as_json)


@vm.command()
@_named
@click.option("--disks", is_flag=True, help="Delete its disks as well; they are kept otherwise.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, socket_path: Path, as_json: bool, disks: bool, yes: bool) -> None:
    """Forget a machine that is off. Its disks are kept unless --disks is given."""
    if not yes:
        what = "and ALL THAT IS ON ITS DISKS" if disks else "; its disks are kept"
        click.confirm(f"Delete {name} {what}?", abort=True, err=True)
    answer = _ask(socket_path, "vm_delete", name=name, disks=disks)
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{name} is deleted" + (f"; its disks are in {answer['kept']}" if answer["kept"] else ""))


@vm.command()
@_named
def console(name: str, socket_path: Path, as_json: bool) -> None:
    """The machine's serial console in this terminal; Ctrl-] leaves it. With --json only where it is."""
    answer = _ask(socket_path, "vm_console", name=name)
    if as_json:
        print_json([answer])
        return
    from appliance.cli import serial_console

    try:
        serial_console.attach(Path(answer["device"]))
    except OSError as error:
        raise Failure(f"{answer['device']}: {error.strerror}; run this as root") from None


@vm.command()
@_named
def stats(name: str, socket_path: Path, as_json: bool) -> None:
    """libvirt's counters of a machine: processor time in ns, memory in KiB, disks and networks in bytes."""
    answer: Mapping[str, Any] = _ask(socket_path, "vm_stats", name=name)
    if as_json:
        print_json([{"name": name, **answer}])
        return
    for key, value in sorted(answer.items()):
        click.echo(f"{key:<32}{value}")


def _done(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{answer['name']}: {answer['state']}")
