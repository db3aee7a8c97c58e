"""`branchline vm host`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import json_option, print_json, socket_option
from appliance.cli.vm.asking import ask

_GUESTS = {"kvm": "run at full speed (KVM)", "tcg": "are emulated, many times slower (TCG)"}


@click.command()
@socket_option
@json_option
def host(socket_path: Path, as_json: bool) -> None:
    """What this box can do for virtual machines, and why not more."""
    answer = ask(socket_path, "vm_host")
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
    own, guests = answer["rss"]["branchline"], answer["rss"]["guests"]
    beside = "".join(f", QEMU of {name} {tables.size(size)}" for name, size in guests.items())
    click.echo(f"resident    {tables.size(own)} the control plane with libvirt's client{beside}")
    for name, held in answer["guarantees"].items():
        for what in (held["processor"], held["memory"]):
            click.echo(f"guarantee   {name}: {what}")
        for what in held["missing"]:
            click.echo(f"none        {name}: {what}")
