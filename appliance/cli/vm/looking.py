"""`branchline vm list`, `show` and `stats`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.asking import json_option, print_json, socket_option
from appliance.cli.vm.asking import ask, named

_GUEST: Final = {
    "absent": "no agent",
    "connected": "agent not asked yet",
    "silent": "agent does not answer",
}


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
        *("name", "state", "health", "autostart", "memory", "vcpus", "arch", "address", "guest"),
        right=("memory", "vcpus"),
    )
    for one in answer:
        guest = one.get("guest") or {}
        part = f" {tables.percent(one['progress'])}" if "progress" in one else ""
        made.add_row(
            one["name"],
            one["state"] + part + (f" ({one['why']})" if one.get("why") else ""),
            one.get("health", ""),
            "yes" if one.get("autostart") else "",
            tables.size(one.get("memory")),
            str(one.get("vcpus", "")),
            one.get("arch", ""),
            next(iter(guest.get("addresses", ())), ""),
            _GUEST.get(guest.get("agent", ""), guest.get("os", "")),
        )
    tables.console().print(made)


@click.command()
@named
def show(name: str, socket_path: Path, as_json: bool) -> None:
    """A machine, and what the agent in its guest says of it."""
    answer: Mapping[str, Any] = ask(socket_path, "vm_show", name=name)
    if as_json:
        print_json([answer])
        return
    from appliance.cli import tables

    lines = {
        "state": answer["state"] + (f" ({answer['why']})" if answer.get("why") else ""),
        "health": answer.get("health"),
        "autostart": "yes" if answer.get("autostart") else "no",
        "memory": tables.size(answer.get("memory")),
        "processors": f"{answer['vcpus']} ({answer['arch']})" if "vcpus" in answer else "",
        **_guest_lines(answer.get("guest") or {}),
    }
    for label, text in lines.items():
        if text:
            click.echo(f"{label:<12}{text}")


def _guest_lines(guest: Mapping[str, Any]) -> dict[str, str]:
    from appliance.cli import tables

    if not guest:
        return {}
    state = _GUEST.get(guest["agent"], "agent answers")
    of = f", {tables.duration(guest['age'])} ago" if guest["age"] is not None else ""
    lines = {
        "guest": state + (f" ({guest['why']})" if guest["why"] else "") + of,
        "system": guest.get("os", ""),
        "host name": guest.get("host", ""),
        "addresses": ", ".join(guest.get("addresses", ())),
    }
    for one in guest.get("file_systems", ()):
        known = one["size"] is not None and one["used"] is not None
        use = f", {tables.size(one['used'])} of {tables.size(one['size'])} used" if known else ""
        lines[f"disk {len(lines) - 3}"] = f"{one['at']} ({one['kind']}){use}"
    return lines


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
