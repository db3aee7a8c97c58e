"""Two things at once with one machine: one of them is refused, or undone."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vmhost.test_recipe import GOOD
from vmhost import calls
from vmhost.abilities import Abilities
from vmhost.agent.watch import Agents
from vmhost.backup.manifest import Copied, Manifest
from vmhost.backup.proving import Proving
from vmhost.backup.remaking import Given
from vmhost.backup.restoring import Restoring
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.lifecycle import Lifecycle
from vmhost.link import LOOK_S, Link
from vmhost.machines import Known, Machines
from vmhost.recipe import parse, to_dict
from vmhost.running import Running
from vmhost.storage import Storage
from vmhost.wishes import Wishes


class _Libvirtd(Link):
    """Every machine is there, and off."""

    def __init__(self) -> None:
        super().__init__("")
        self.trouble = ""
        self.answer = "there"

    async def do(self, call: Callable[[Any], Any], within: float = LOOK_S) -> Any:
        return [] if call is calls.survey else self.answer


class _Runs:
    """A domain, and the connection to it."""

    def lookupByName(self, _name: str) -> "_Runs":  # noqa: N802 - libvirt's
        return self

    def isActive(self) -> bool:  # noqa: N802 - libvirt's
        return True


def _machines(directory: Path) -> Machines:
    machines = Machines(_Libvirtd(), Storage(directory, ()), lambda *_: None)
    machines.known["directory"] = Known(1, True, 1)
    return machines


def test_what_has_been_started_meanwhile_is_not_forgotten() -> None:
    """libvirt itself would let it run on, with its disks deleted."""
    with pytest.raises(VmError, match="directory runs"):
        calls.undefine(_Runs(), "directory")


@pytest.mark.parametrize("doing", ["made", "backed up", "updated", "restored", "stopped", "taken back"])
@pytest.mark.parametrize("what", ["start", "stop", "restart", "kill", "delete"])
def test_what_is_needed_is_left(
    doing: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug may always be pulled where nothing but what is under way is lost."""
    machines = _machines(tmp_path)
    if doing in ("made", "backed up"):
        {"made": machines.making, "backed up": machines.backing_up}[doing]["directory"] = 0.5
    elif doing == "taken back":
        machines.abandoned.add("directory")
    else:
        machines.held["directory"] = doing
    running = Running(machines, Wishes(tmp_path), Guarantees())
    lifecycle = Lifecycle(machines, running, Agents(machines, running))
    asked: Callable[[], Coroutine[Any, Any, dict[str, Any]]] = {
        "start": lambda: lifecycle.start("directory"),
        "stop": lambda: lifecycle.stop("directory"),
        "restart": lambda: lifecycle.restart("directory"),
        "kill": lambda: lifecycle.kill("directory"),
        "delete": lambda: lifecycle.delete("directory", disks=True),
    }[what]
    if what == "kill" and doing in ("backed up", "stopped"):
        monkeypatch.setattr(machines.link, "answer", "")  # it is off already
        assert asyncio.run(asked())["state"] == "off"
        return
    with pytest.raises(VmError, match=f"is being {doing}"):
        asyncio.run(asked())
    assert "directory" in machines.known


class _Good(Proving):
    async def check(self, path: Path, manifest: Manifest) -> str:
        return ""


def test_a_machine_whose_disks_cannot_be_set_aside_is_still_one(tmp_path: Path) -> None:
    machines, abilities = _machines(tmp_path), Abilities()
    running = Running(machines, Wishes(tmp_path), Guarantees())
    creation = Creation(machines, running, abilities)
    lifecycle = Lifecycle(machines, running, Agents(machines, running))
    directories = Directories(machines, running, abilities, creation, lifecycle)
    manifest = Manifest(
        name="directory",
        taken=1.0,
        recipe=to_dict(parse(GOOD, "/directory.toml")),
        uuid="u",
        macs=[],
        consistency="off",
        why="",
        disks={dev: Copied(f"{name}.qcow2", 1, "") for dev, name in (("vda", "system"), ("vdb", "data"))},
        xml="<domain/>",
    )
    restoring = Restoring(machines, creation, _Good(machines, abilities), directories)
    with pytest.raises(VmError, match="No such file"):
        asyncio.run(restoring.restore(tmp_path, manifest, None, Given()))
    assert "directory" in machines.known
