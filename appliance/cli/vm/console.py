"""`branchline vm console` and `vnc`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import Failure, print_json
from appliance.cli.vm.asking import ask, named


@click.command()
@named
def console(name: str, socket_path: Path, as_json: bool) -> None:
    """The machine's serial console in this terminal; Ctrl-] leaves it. With --json only where it is."""
    answer = ask(socket_path, "vm_console", name=name)
    if as_json:
        print_json([answer])
        return
    from appliance.cli import serial_console

    try:
        serial_console.attach(Path(answer["device"]))
    except OSError as error:
        raise Failure(f"{answer['device']}: {error.strerror}; run this as root") from None


@click.command()
@named
def vnc(name: str, socket_path: Path, as_json: bool) -> None:
    """The Unix socket of the machine's display, for a VNC viewer of root. It is never on the network."""
    answer = ask(socket_path, "vm_vnc", name=name)
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{answer['socket']} (mode {answer['mode']})")
