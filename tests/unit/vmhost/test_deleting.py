"""A machine that is deleted is gone or still there, and what its disks are is said."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.vmhost.libvirtd import Events, Libvirtd, machines_in
from tests.unit.vmhost.test_recipe import GOOD
from vmhost.agent.watch import Agents
from vmhost.domain import domain_xml
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.leftovers import GONE
from vmhost.lifecycle import Lifecycle
from vmhost.machines import Machines
from vmhost.recipe import parse
from vmhost.running import Running
from vmhost.storage import Storage
from vmhost.wishes import Wishes

RECIPE = parse(GOOD, "/directory.toml")
NAME = str(RECIPE.name)


class Killed(Exception):  # noqa: N818 - it is no error, but the end of a process
    """This process ends here."""


@pytest.fixture
def libvirtd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Libvirtd:
    """With a machine that is off."""
    libvirtd = Libvirtd(monkeypatch)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "system.qcow2").write_text("precious")
    libvirtd.defined[NAME] = domain_xml(RECIPE, "tcg", tmp_path / NAME)
    return libvirtd


def _begin(directory: Path, libvirtd: Libvirtd, told: Events | None = None) -> tuple[Machines, Lifecycle]:
    """A process of Branchline."""
    machines = machines_in(directory, libvirtd, told)
    running = Running(machines, Wishes(directory), Guarantees())
    machines.storage.sweep(set(libvirtd.defined), set(), 0.0)
    return machines, Lifecycle(machines, running, Agents(machines, running))


def test_killed_before_it_is_forgotten(tmp_path: Path, libvirtd: Libvirtd) -> None:
    def kill(*_: str) -> None:
        raise Killed

    libvirtd.before = kill
    _, lifecycle = _begin(tmp_path, libvirtd)
    with pytest.raises(Killed):
        asyncio.run(lifecycle.delete(NAME, disks=True))
    libvirtd.before = lambda *_: None
    machines, _ = _begin(tmp_path, libvirtd)
    assert not machines.storage.is_half_made(NAME)
    assert [path.name for path in (tmp_path / NAME).iterdir()] == ["system.qcow2"]


def test_killed_when_it_is_forgotten(
    tmp_path: Path, libvirtd: Libvirtd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes for the disks of a machine what was to be deleted."""
    _, lifecycle = _begin(tmp_path, libvirtd)

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Storage, "remove", kill)
        asyncio.run(lifecycle.delete(NAME, disks=True))
    machines, lifecycle = _begin(tmp_path, libvirtd)
    assert machines.storage.half_made() == [NAME]
    assert asyncio.run(lifecycle.delete(NAME, disks=False)) == {"name": NAME, "kept": ""}
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_libvirt_keeps_has_its_disks(tmp_path: Path, libvirtd: Libvirtd) -> None:
    def refuse(*_: str) -> None:
        raise VmError("failed", "it has snapshots")

    libvirtd.before = refuse
    machines, lifecycle = _begin(tmp_path, libvirtd)
    with pytest.raises(VmError, match="snapshots"):
        asyncio.run(lifecycle.delete(NAME, disks=True))
    assert NAME in machines.known
    assert [path.name for path in (tmp_path / NAME).iterdir()] == ["system.qcow2"]


def test_disks_that_stay_are_no_success(tmp_path: Path, libvirtd: Libvirtd) -> None:
    told: Events = []
    in_the_way = tmp_path / f"{NAME}{GONE}"
    in_the_way.touch()
    machines, lifecycle = _begin(tmp_path, libvirtd, told)
    with pytest.raises(VmError, match="cannot be deleted: Not a directory"):
        asyncio.run(lifecycle.delete(NAME, disks=True))
    assert not told
    in_the_way.unlink()
    assert machines.storage.half_made() == [NAME]
    asyncio.run(lifecycle.delete(NAME, disks=True))
    assert list(tmp_path.iterdir()) == []
