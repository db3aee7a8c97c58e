"""`branchline vm`: a file for each subject, which is imported when one of its commands is called."""

from __future__ import annotations

from typing import Final

import click

from appliance.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "host": ("appliance.cli.vm.host", "What this box can do for virtual machines, and why not more."),
    "list": ("appliance.cli.vm.looking", "All machines and their states."),
    "show": ("appliance.cli.vm.looking", "A machine, and what its guest says of itself."),
    "health": ("appliance.cli.vm.health", "What the last checks of a machine have found."),
    "check": ("appliance.cli.vm.health", "Check any directory as its clients use it."),
    "stats": ("appliance.cli.vm.looking", "libvirt's counters of a machine."),
    "create": ("appliance.cli.vm.creation", "Make a machine from a recipe and start it."),
    "stage": ("appliance.cli.vm.stage", "Prepare at the centre what a branch's machine will need."),
    "unpack": ("appliance.cli.vm.unpack", "Take an OVA apart, into disks and a recipe."),
    "start": ("appliance.cli.vm.lifecycle", "Start a machine that is off."),
    "stop": ("appliance.cli.vm.lifecycle", "Shut the guest down and wait."),
    "restart": ("appliance.cli.vm.lifecycle", "Shut the guest down orderly and start it again."),
    "kill": ("appliance.cli.vm.lifecycle", "End a machine as pulling its plug would."),
    "delete": ("appliance.cli.vm.lifecycle", "Forget a machine that is off."),
    "backup": ("appliance.cli.vm.backups", "Take a backup of a machine."),
    "backups": ("appliance.cli.vm.backups", "The backups there are."),
    "verify": ("appliance.cli.vm.backups", "Check a backup, and boot from it."),
    "restore": ("appliance.cli.vm.backups", "Make a machine as it was in a backup."),
    "vnc": ("appliance.cli.vm.console", "The socket of the machine's display."),
    "console": ("appliance.cli.vm.console", "The machine's serial console in this terminal."),
    "update": ("appliance.cli.vm.update", "Give a machine a new system, with a way back."),
    "build": ("appliance.cli.vm.build", "Make the signed system of the directory, on a build host."),
}


@click.command(cls=LazyGroup, commands_of=_COMMANDS)
def vm() -> None:
    """The virtual machines of this box, in libvirt's care."""
