"""Whatever an update meets, the machine boots what has proved healthy."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.vmhost.libvirtd import Events, Libvirtd, machines_in, slot_with
from tests.unit.vmhost.test_recipe import GOOD
from vmhost.agent.watch import Agents
from vmhost.backup.taking import Taking
from vmhost.directory import slots
from vmhost.directory.slots import Slots
from vmhost.directory.updating import Updating
from vmhost.domain import Boot, domain_xml
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.lifecycle import Lifecycle
from vmhost.recipe import parse
from vmhost.running import Running
from vmhost.wishes import Wishes

NAME = "directory"


def _half_updated(libvirtd: Libvirtd, directory: Path, told: Events) -> Updating:
    """A machine of which the new system is defined and not proved."""
    machine = directory / NAME
    new = [slot_with(machine, slot) for slot in ("a", "b")][1]
    slots.write(machine, Slots().tried())
    libvirtd.defined[NAME] = domain_xml(parse(GOOD, "/a"), "tcg", machine, "", Boot(new, "quiet"))
    machines = machines_in(directory, libvirtd, told)
    running = Running(machines, Wishes(directory), Guarantees())
    lifecycle = Lifecycle(machines, running, Agents(machines, running))
    return Updating(machines, running, lifecycle, directory)


def test_one_that_is_joining_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may yet be taken back; and what is on its seed belongs in no backup."""
    libvirtd = Libvirtd(monkeypatch)
    seeded = parse(GOOD.replace('name = "data"', 'name = "seed"'), "/a")
    boot = Boot(slot_with(tmp_path / NAME, "a"), "quiet")
    slots.write(tmp_path / NAME, Slots())
    libvirtd.defined[NAME] = domain_xml(seeded, "tcg", tmp_path / NAME, "", boot)
    libvirtd.running[NAME] = str(boot.directory / "vmlinuz")
    machines = machines_in(tmp_path, libvirtd)
    running = Running(machines, Wishes(tmp_path), Guarantees())
    updating = Updating(machines, running, Lifecycle(machines, running, Agents(machines, running)), tmp_path)
    for asked in (updating.update(NAME, tmp_path / "b"), Taking(machines).take(NAME, tmp_path / "to")):
        with pytest.raises(VmError, match="is not a directory yet"):
            asyncio.run(asked)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("runs", ["a", "b", ""])
def test_the_old_system_is_what_is_booted_from_now_on(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if somebody has started the old one when the new one was defined already."""
    told: Events = []
    libvirtd = Libvirtd(monkeypatch)
    updating = _half_updated(libvirtd, tmp_path, told)
    if runs:
        libvirtd.running[NAME] = str(tmp_path / NAME / f"slot-{runs}" / "vmlinuz")
    with pytest.raises(VmError):  # there is no bundle; but first comes what was left undone
        asyncio.run(updating.update(NAME, tmp_path / "bundle"))
    old = str(tmp_path / NAME / "slot-a" / "vmlinuz")
    assert libvirtd.running[NAME] == old
    assert old in libvirtd.defined[NAME]
    assert slots.read(tmp_path / NAME) == Slots()
    assert [kind for kind, _ in told] == ["vm.update_undone"]


def test_what_cannot_go_back_is_tried_again_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Events = []
    libvirtd = Libvirtd(monkeypatch)
    updating = _half_updated(libvirtd, tmp_path, told)

    def no_memory(call: str, _: str) -> None:
        if call == "start":
            raise VmError("failed", "there is no memory")

    libvirtd.before = no_memory
    for _ in range(2):
        with pytest.raises(VmError, match="there is no memory"):
            asyncio.run(updating.update(NAME, tmp_path / "bundle"))
    assert [kind for kind, _ in told] == ["vm.update_stuck"]
    libvirtd.before = lambda *_: None
    with pytest.raises(VmError):
        asyncio.run(updating.update(NAME, tmp_path / "bundle"))
    assert slots.read(tmp_path / NAME) == Slots()
