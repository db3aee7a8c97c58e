"""`branchline vm list` and `stats`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import json_option, print_json, socket_option
from appliance.cli.vm.asking import ask, named


@click.command(name="list")
@socket_option
@json_option
def list_machines(socket_path: Path, as_json: bool) -> None:
    """All machines and their states."""
    answer = ask(socket_path, "vm_list")
    if as_json:
        print_json(answer)
        return
    from appliance.cli import tables

    if not answer:
        click.echo("there are no virtual machines here; `branchline vm create RECIPE` makes one")
        return
    made = tables.table(
        "name", "state", "health", "autostart", "memory", "vcpus", "arch", right=("memory", "vcpus")
    )
    for one in answer:
        part = f" {tables.percent(one['progress'])}" if "progress" in one else ""
        made.add_row(
            one["name"],
            one["state"] + part + (f" ({one['why']})" if one.get("why") else ""),
            one.get("health", ""),
            "yes" if one.get("autostart") else "",
            tables.size(one.get("memory")),
            str(one.get("vcpus", "")),
            one.get("arch", ""),
        )
    tables.console().print(made)


@click.command()
@named
def stats(name: str, socket_path: Path, as_json: bool) -> None:
    """libvirt's counters of a machine: processor time in ns, memory in KiB, disks and networks in bytes."""
    answer: Mapping[str, Any] = ask(socket_path, "vm_stats", name=name)
    if as_json:
        print_json([{"name": name, **answer}])
        return
    for key, value in sorted(answer.items()):
        click.echo(f"{key:<32}{value}")
