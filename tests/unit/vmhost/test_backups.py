"""What people ask about backups, and what is taken by itself."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.vmhost.libvirtd import Libvirtd, machines_in
from vmhost.abilities import Abilities
from vmhost.agent.watch import Agents
from vmhost.backup.backups import Backups
from vmhost.backup.remaking import Given
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.lifecycle import Lifecycle
from vmhost.machines import Machines
from vmhost.running import Running
from vmhost.wishes import Wishes


def backups_of(machines: Machines) -> Backups:
    abilities, running = Abilities(), Running(machines, Wishes(machines.storage.directory), Guarantees())
    creation = Creation(machines, running, abilities)
    lifecycle = Lifecycle(machines, running, Agents(machines, running))
    directories = Directories(machines, running, creation, lifecycle)
    return Backups(machines, running, creation, abilities, directories)


@pytest.mark.parametrize(
    ("name", "backup", "to"),
    [
        ("../etc", "latest", ""),
        ("a\0", "latest", ""),
        ("a\n", "latest", ""),
        ("directory", "/mnt/\0/20260131T235900Z", ""),
        ("directory", "/mnt/\n/20260131T235900Z", ""),
        ("directory", "latest", "/mnt/\0"),
        ("directory", "latest", "mnt"),
        ("directory", "20260131T\n", ""),
    ],
)
def test_names_and_places_that_are_none(
    name: str, backup: str, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = backups_of(machines_in(tmp_path, Libvirtd(monkeypatch)))
    with pytest.raises(VmError) as said:
        asyncio.run(backups.restore(name, backup, to, None, Given()))
    assert str(said.value).isprintable()
