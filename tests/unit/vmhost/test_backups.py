"""What people ask about backups, and what is taken by itself."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vmhost.libvirtd import Events, Libvirtd, machines_in
from tests.unit.vmhost.test_recipe import GOOD
from vmhost.abilities import Abilities
from vmhost.agent.watch import Agents
from vmhost.backup import job
from vmhost.backup.backups import DIRECTORY, Backups
from vmhost.backup.manifest import FILE
from vmhost.backup.remaking import Given
from vmhost.backup.sending import Sending
from vmhost.backup.shelf import Shelf, stamp_of
from vmhost.backup.taking import Taking
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.domain import domain_xml
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.health.watch import Watch
from vmhost.leftovers import sweep
from vmhost.lifecycle import Lifecycle
from vmhost.machines import Machines, Tree
from vmhost.recipe import parse
from vmhost.running import Running
from vmhost.wishes import Wishes


def backups_of(machines: Machines) -> Backups:
    abilities, running = Abilities(), Running(machines, Wishes(machines.storage.directory), Guarantees())
    creation = Creation(machines, running, abilities)
    lifecycle = Lifecycle(machines, running, Agents(machines, running))
    directories = Directories(machines, running, abilities, creation, lifecycle)
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


def test_a_recipe_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once, whoever comes upon it."""
    told: Events = []
    libvirtd = Libvirtd(monkeypatch)
    text = GOOD + '[backup]\nevery = "1h"\n[health]\nkind = "tcp"\naddress = "127.0.0.1"\nport = 9\n'
    for name in ("a", "b", "c"):
        libvirtd.defined[name] = domain_xml(
            parse(text.replace('"directory"', f'"{name}"', 1), "/a"), "tcg", tmp_path
        )
        libvirtd.running[name] = ""
    libvirtd.defined["b"] = libvirtd.defined["b"].replace("{", "[", 1)
    machines = machines_in(tmp_path, libvirtd, told)
    backups, watch, due = backups_of(machines), Watch(machines, tmp_path), asyncio.Event()

    async def take(name: str, to: Path) -> Tree:
        taken.append(name)
        if len(taken) == 2:
            due.set()
        raise VmError("failed", "not here")

    async def run() -> list[str]:
        monkeypatch.setattr(Taking, "take", lambda _, name, to: take(name, to))
        monkeypatch.setattr("vmhost.backup.backups.LOOK_S", 0.01)
        async with asyncio.timeout(10):
            tasks = [asyncio.create_task(part.run()) for part in (backups, watch)]
            await due.wait()
            for task in tasks:
                task.cancel()
        return [one["name"] for one in await watch.told("")]

    taken: list[str] = []
    assert asyncio.run(run()) == ["a", "c"]
    assert sorted(taken) == ["a", "c"]
    assert [kind for kind, _ in told] == ["vm.recipe_bad"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_crash_cut_off_is_put_away_like_every_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """It is sent, and what is too old goes; unless a person has chosen another place for it."""
    told: Events = []
    text = GOOD.replace('"directory"', '"a"', 1) + '[backup]\nevery = "24h"\nkeep = 1\n'
    text += 'send = "rsync://10.9.0.1/backups"\nsend_from = "10.9.0.2/24"\nsend_by = "10.9.0.1"\n'
    libvirtd = Libvirtd(monkeypatch)
    libvirtd.defined["a"] = domain_xml(parse(text, "/a"), "tcg", tmp_path)
    libvirtd.running["a"] = ""
    machines = machines_in(tmp_path / "vm", libvirtd, told)
    usual = tmp_path / DIRECTORY
    to = tmp_path / "elsewhere" if elsewhere else usual
    now = time.time()
    shelf, old = Shelf(to), stamp_of(now - 60)
    stamp = shelf.begin("a", now)
    journal = {"to": str(to), "stamp": stamp, "taken": now, "recipe": {}, "begun": True}
    seen = {"uuid": "", "macs": [], "disks": {}, "boot": {}, "xml": ""}
    (tmp_path / "vm" / "a").mkdir(parents=True)
    (tmp_path / "vm" / "a" / ".backup").write_text(json.dumps(journal | {"seen": seen}))
    (usual / "a" / old).mkdir(parents=True)
    (usual / "a" / old / FILE).write_text("{}")
    sent: list[Path] = []
    monkeypatch.setattr(job, "progress", lambda *_: job.Progress(False, 1.0))
    monkeypatch.setattr(Sending, "send", lambda _, directory, _post: _note(sent, directory))
    backups, go_on = backups_of(machines), Backups._go_on

    async def run() -> None:
        done = asyncio.Event()

        async def gone_on(*arguments: Any) -> None:
            await go_on(*arguments)
            done.set()

        monkeypatch.setattr(Backups, "_go_on", gone_on)
        backups._stirred.set()
        task = asyncio.create_task(backups.run())
        async with asyncio.timeout(20):
            await done.wait()
        task.cancel()
        await asyncio.wait((task,))

    asyncio.run(run())
    assert shelf.stamps("a") == [stamp]
    assert sent == ([] if elsewhere else [usual / "a"])
    assert Shelf(usual).stamps("a") == ([old] if elsewhere else [stamp])


async def _note(sent: list[Path], directory: Path) -> None:
    sent.append(directory)


def test_nothing_begins_while_one_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is given up to the end would be the one that has just begun."""
    libvirtd = Libvirtd(monkeypatch)
    libvirtd.defined["a"] = domain_xml(parse(GOOD.replace('"directory"', '"a"', 1), "/a"), "tcg", tmp_path)
    machines = machines_in(tmp_path, libvirtd)
    taking, tried = Taking(machines), []
    begun = asyncio.Event()

    async def under_way() -> Tree:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    def no_job(*_: object) -> None:
        tried.append(machines.doing("a"))
        raise VmError("failed", "there is no job")

    async def run() -> None:
        journal = {"to": str(tmp_path / "to"), "stamp": "s", "taken": 1.0, "recipe": {}}
        seen = {"uuid": "", "macs": [], "disks": {}, "boot": {}, "xml": ""}
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / ".backup").write_text(json.dumps(journal | {"seen": seen}))
        taken = asyncio.create_task(taking.take("a", tmp_path / "to"))
        await begun.wait()
        await taking.cancel("a")
        with pytest.raises(VmError, match="given up"):
            await taken

    monkeypatch.setattr(job, "cancel", no_job)
    monkeypatch.setattr(Taking, "_take", lambda *_: under_way())
    asyncio.run(run())
    assert tried == ["freed of a backup"] * 2  # also when the one that was under way has ended
    assert machines.doing("a") == ""


def test_what_a_killed_process_has_left(tmp_path: Path) -> None:
    for name in ("a", "b", "a.gone", "a.proof", "a/slot-b.half", "a/slot-a", "made-just-now", "a.before-1"):
        (tmp_path / name).mkdir()
    for name in ("system.qcow2", ".incomplete.new", "slots.json.new"):
        (tmp_path / "a" / name).touch()
    for name in ("b/system.qcow2", "a.gone/x", "a.before-1/x"):
        (tmp_path / name).touch()
    said = sweep(tmp_path)
    gone = ["a.gone", "a.proof", "a/.incomplete.new", "a/slot-b.half", "a/slots.json.new"]
    assert sorted(str(path.relative_to(tmp_path)) for path in said) == gone
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["a", "a.before-1", "a.before-1/x", "a/slot-a", "a/system.qcow2", "b", "b/system.qcow2"]
