"""Whatever ends a restore, and wherever: the machine is what it was or what it was to be, and no disk is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vmhost.libvirtd import Events, Libvirtd, machines_in
from tests.unit.vmhost.test_recipe import GOOD
from vmhost import gave_way
from vmhost.abilities import Abilities
from vmhost.agent.watch import Agents
from vmhost.backup.manifest import Copied, Manifest
from vmhost.backup.proving import Proving
from vmhost.backup.remaking import Given
from vmhost.backup.restoring import Restoring
from vmhost.backup.taking import Taking
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.domain import domain_xml
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.half_made import MARK
from vmhost.lifecycle import Lifecycle
from vmhost.machines import Known, Tree
from vmhost.mending import Mending
from vmhost.recipe import Recipe, parse, to_dict
from vmhost.running import Running
from vmhost.wishes import Wishes

RECIPE = parse(GOOD, "/directory.toml")
NAME = str(RECIPE.name)
BACKUP = Manifest(
    name=NAME,
    taken=1.0,
    recipe=to_dict(RECIPE),
    uuid="u",
    macs=[],
    consistency="off",
    why="",
    disks={dev: Copied(f"{name}.qcow2", 1, "") for dev, name in (("vda", "system"), ("vdb", "data"))},
    xml="<domain/>",
)
Make = Callable[["Box"], Awaitable[None]]


class Killed(Exception):  # noqa: N818 - it is no error, but the end of a process
    """This process ends here."""


class Box:
    """One process of Branchline, with a machine that is off."""

    def __init__(self, libvirtd: Libvirtd, directory: Path, make: Make) -> None:
        self.told: Events = []
        self.libvirtd = libvirtd
        self.machines = machines_in(directory, libvirtd, self.told)
        self.running = Running(self.machines, Wishes(directory), Guarantees())
        self.creation = _Making(self, make)
        lifecycle = Lifecycle(self.machines, self.running, Agents(self.machines, self.running))
        abilities = Abilities()
        directories = Directories(self.machines, self.running, abilities, self.creation, lifecycle)
        proving = _Good(self.machines, abilities)
        self.restoring = Restoring(self.machines, self.creation, proving, directories)
        self.disks = self.machines.storage.of(NAME)

    async def restore(self) -> Tree:
        return await self.restoring.restore(Path("/backup"), BACKUP, None, Given())

    def fill(self, content: str) -> None:
        """The disks of a machine that is being made."""
        self.disks.mkdir()
        (self.disks / MARK).touch()
        (self.disks / "system.qcow2").write_text(content)

    def define(self) -> None:
        self.libvirtd.defined[NAME] = domain_xml(RECIPE, "tcg", self.disks)


class _Good(Proving):
    async def check(self, path: Path, manifest: Manifest) -> str:
        return ""


class _Making(Creation):
    def __init__(self, box: Box, make: Make) -> None:
        super().__init__(box.machines, box.running, Abilities())
        self._box, self._make = box, make

    async def make(self, recipe: Recipe, uuid: str = "", files: Mapping[str, str] | None = None) -> Tree:
        await self._make(self._box)
        return {}


async def _half(box: Box) -> None:
    box.fill("new")
    raise Killed


async def _refused(_: Box) -> None:
    raise VmError("refused", "there is no bridge")


async def _whole(box: Box) -> None:
    box.fill("new")
    box.define()
    (box.disks / MARK).unlink()


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Make], Box]:
    libvirtd = Libvirtd(monkeypatch)

    def begin(make: Make) -> Box:
        if not list(tmp_path.iterdir()):
            first = Box(libvirtd, tmp_path, make)
            first.fill("old")
            (first.disks / MARK).unlink()
            first.define()
        return Box(libvirtd, tmp_path, make)

    return begin


def _is_what_it_was(one: Box) -> None:
    assert (one.disks / "system.qcow2").read_text() == "old"
    assert {path.name for path in one.disks.parent.iterdir()} == {NAME}
    assert {path.name for path in one.disks.iterdir()} == {"system.qcow2"}
    assert NAME in one.libvirtd.defined
    assert NAME in one.machines.known
    assert "vm.restore_undone" in [kind for kind, _ in one.told]


@pytest.mark.parametrize("at", ["undefine", "set aside", "make", "half made"])
def test_killed_in_the_middle(at: str, box: Callable[[Make], Box], monkeypatch: pytest.MonkeyPatch) -> None:
    one = box(_half)
    before = one.libvirtd.defined[NAME]

    def kill(*_: object) -> Any:
        raise Killed

    def kill_at(call: str, _: str) -> None:
        if call == at:
            raise Killed

    one.libvirtd.before = kill_at
    with monkeypatch.context() as patched:
        patched.setattr(Restoring, "_settle", lambda *_: asyncio.sleep(0))  # it is dead
        if at == "set aside":
            patched.setattr(one.machines.storage, "set_aside", kill)
        if at == "make":
            patched.setattr(one.creation, "make", kill)
        with pytest.raises(Killed):
            asyncio.run(one.restore())
    one.libvirtd.before = lambda *_: None
    next_one = box(_half)
    asyncio.run(next_one.restoring.go_on())
    _is_what_it_was(next_one)
    assert next_one.libvirtd.defined[NAME] == before


def test_killed_when_it_was_done(box: Callable[[Make], Box], monkeypatch: pytest.MonkeyPatch) -> None:
    one = box(_whole)

    def kill(_: Path) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(gave_way, "settle", kill)
        asyncio.run(one.restore())
    next_one = box(_whole)
    asyncio.run(next_one.restoring.go_on())
    assert (next_one.disks / "system.qcow2").read_text() == "new"
    (aside,) = next_one.disks.parent.glob(f"{NAME}.before-*")
    assert [path.name for path in aside.iterdir()] == ["system.qcow2"]
    assert str(aside) in dict(next_one.told)["vm.restored"]
    asyncio.run(next_one.restoring.go_on())
    assert len(next_one.told) == 1


def test_what_cannot_be_made_leaves_what_was(box: Callable[[Make], Box]) -> None:
    one = box(_refused)
    with pytest.raises(VmError, match="no bridge"):
        asyncio.run(one.restore())
    _is_what_it_was(one)


def test_libvirtd_is_lost_meanwhile(box: Callable[[Make], Box]) -> None:
    """What was made is taken back when it is there again, and then, not before, the old disks come back."""

    async def lost(one: Box) -> None:
        one.fill("new")
        one.define()
        one.machines.abandoned.add(NAME)
        one.libvirtd.trouble = "it is gone"
        raise VmError("unavailable", "it is gone")

    async def run(one: Box) -> None:
        with pytest.raises(VmError, match="it is gone"):
            await one.restore()
        one.libvirtd.trouble = ""
        await one.restoring.go_on()
        with pytest.raises(VmError, match="taken back"):
            await one.creation.create(RECIPE)
        mending = asyncio.create_task(Mending(one.machines, one.running).run())
        swept, tell = asyncio.Event(), one.machines.tell

        def told(kind: str, *more: Any) -> None:
            tell(kind, *more)
            if kind == "vm.swept":
                swept.set()

        one.machines.tell = told
        one.running.stalled.set()
        async with asyncio.timeout(10):
            await swept.wait()
        mending.cancel()
        with pytest.raises(VmError, match="about to be put back"):
            await one.creation.create(RECIPE)
        await one.restoring.go_on()

    one = box(lost)
    asyncio.run(run(one))
    _is_what_it_was(one)


def test_what_is_in_the_way_is_said_once_and_kept(box: Callable[[Make], Box]) -> None:
    async def foreign(one: Box) -> None:
        one.disks.mkdir()
        (one.disks / "precious").touch()
        raise VmError("failed", "it is full")

    async def run(one: Box) -> None:
        with pytest.raises(VmError, match="it is full"):
            await one.restore()
        await one.restoring.go_on()
        (said,) = (text for kind, text in one.told if kind == "vm.restore_stuck")
        assert "move it away" in said
        one.disks.rename(one.disks.parents[1] / "precious")
        await one.restoring.go_on()

    one = box(foreign)
    asyncio.run(run(one))
    _is_what_it_was(one)


def test_one_at_a_time(box: Callable[[Make], Box]) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def slow(one: Box) -> None:
        begun.set()
        await over.wait()
        await _whole(one)

    async def run(one: Box) -> None:
        first = asyncio.create_task(one.restore())
        await begun.wait()
        one.machines.known[NAME] = Known(1, False, 1)
        for other in (
            one.restore(),
            one.creation.create(RECIPE),
            Taking(one.machines).take(NAME, Path("/b")),
        ):
            with pytest.raises(VmError, match="is being restored"):
                await other
        over.set()
        await first

    one = box(slow)
    asyncio.run(run(one))
    assert (one.disks / "system.qcow2").read_text() == "new"
