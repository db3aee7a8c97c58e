"""A backup is taken: of a machine that runs by libvirt's own job, of one that is off by copying its disks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from vmhost import calls, durable, images
from vmhost.abilities import disk_left
from vmhost.backup import archive, job
from vmhost.backup.manifest import Consistency, Copied, Manifest
from vmhost.backup.shelf import Shelf, measure
from vmhost.backup.still import held_still
from vmhost.directory.planning import must_have_joined
from vmhost.errors import VmError
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, Tree
from vmhost.values import show_size

LOOK_AGAIN_S = 0.5
_COPYING = 0.8  # of the time; the rest is for the checksums
_JOURNAL, _FROZEN = ".backup", ".frozen"


class _Journal(msgspec.Struct):
    """A job of libvirt that a crash of this process does not end. `why`: its file systems were not frozen."""

    to: str
    stamp: str
    taken: float
    recipe: Tree
    seen: job.Seen
    why: str = ""
    begun: bool = False


class Taking:
    """Of all `machines`."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._thawing: dict[str, asyncio.Task[None]] = {}
        self._tasks: dict[str, asyncio.Task[Tree]] = {}

    async def take(self, name: str, to: Path) -> Tree:
        """A backup of a machine, in the directory `to`: all of its disks at one point in time, or nothing."""
        self._machines.must_know(name)
        self._machines.must_be_left(name)
        self._machines.backing_up[name] = 0.0
        task = self._tasks[name] = asyncio.create_task(self._told(name, to, self._take(name, Shelf(to))))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()  # it is this process that ends
                raise
            raise VmError("failed", f"the backup of {name} was given up") from None
        finally:
            del self._machines.backing_up[name], self._tasks[name]

    async def cancel(self, name: str) -> Tree:
        """Give a backup up that is under way."""
        self._machines.must_know(name)
        if name not in self._machines.backing_up:
            raise VmError("refused", f"{name} is not being backed up")
        # Held until all of it is gone: what is given up here must not be a backup that has begun since.
        with self._machines.holding(name, "freed of a backup", "backed up"):
            try:
                await self._machines.link.do(lambda connection: job.cancel(connection, name))
            except VmError:  # no job of libvirt, or not any more
                task = self._tasks.get(name)
                if task is None:
                    return {"name": name}  # it has just ended
                journal = await asyncio.to_thread(self._read, name)
                task.cancel()
                await asyncio.wait((task,))
                if journal is not None:
                    await self._given_up(name, Shelf(Path(journal.to)), journal)
        return {"name": name}

    async def go_on(self) -> list[tuple[str, Path, asyncio.Task[Tree]]]:
        """After libvirtd has come back, or this process: with what was under way. Machine, place and the rest of it."""
        going = []
        for name in self._machines.known.keys() - self._machines.backing_up.keys():
            self._begin_thaw(name)
            journal = await asyncio.to_thread(self._read, name)
            if journal is not None and name not in self._machines.backing_up:  # since just now, by somebody
                self._machines.backing_up[name] = 0.0
                shelf = Shelf(Path(journal.to))
                task = asyncio.create_task(
                    self._told(name, shelf.directory, self._finished(name, shelf, journal))
                )
                self._tasks[name] = task
                task.add_done_callback(functools.partial(self._gone_on, name))
                going.append((name, shelf.directory, task))
        return going

    def _gone_on(self, name: str, task: asyncio.Task[Tree]) -> None:
        del self._machines.backing_up[name], self._tasks[name]
        if not task.cancelled():
            task.exception()  # it is an event

    async def _told(self, name: str, to: Path, work: Coroutine[Any, Any, Tree]) -> Tree:
        try:
            answer = await work
        except (VmError, OSError) as error:
            text = f"{error.filename or to}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self._machines.tell("vm.backup_failed", "error", f"{name} is not backed up: {text}", {"vm": name})
            raise VmError("failed" if isinstance(error, OSError) else error.kind, text) from None
        how = {"crash": ", as after a power cut", "off": ", while it was off"}.get(answer["consistency"], "")
        self._machines.tell("vm.backed_up", "info", f"{name} is backed up in {answer['path']}{how}", answer)
        return answer

    async def _take(self, name: str, shelf: Shelf) -> Tree:
        found = next((one for one in await self._machines.link.do(calls.survey) if one.name == name), None)
        if found is None:
            raise VmError("not_found", f"there is no machine {name} any more")
        must_have_joined(name, found.recipe)
        seen = await self._machines.link.do(lambda connection: job.seen(connection, name))
        await asyncio.to_thread(shelf.sweep, name)
        needed = await asyncio.to_thread(_taken, seen) + images.RESERVE
        left = await asyncio.to_thread(disk_left, shelf.directory)
        if needed > left:
            raise VmError(
                "refused",
                f"a backup of {name} takes {show_size(needed - images.RESERVE)}, {shelf.directory} has "
                f"{show_size(left)}, and {show_size(images.RESERVE)} are left free; free space, or back up elsewhere",
            )
        now = time.time()
        stamp = await asyncio.to_thread(shelf.begin, name, now)
        journal = _Journal(str(shelf.directory), stamp, now, found.recipe, seen)
        if found.state == "off":
            return await self._copied(name, shelf, journal)
        await asyncio.to_thread(self._write, name, journal)
        part = shelf.part(name, stamp)
        if found.recipe.get("role") == "new":
            await self._archive(name, part)
        xml = job.request(_files(part, seen))
        frozen = self._machines.storage.of(name) / _FROZEN
        try:
            journal.why = await self._machines.link.do(
                lambda connection: job.begin(connection, name, xml, frozen), CHANGE_S
            )
        except VmError:
            await self._given_up(name, shelf, journal)
            raise
        finally:
            self._begin_thaw(name)
        journal.begun = True
        await asyncio.to_thread(self._write, name, journal)
        return await self._finished(name, shelf, journal)

    async def _archive(self, name: str, part: Path) -> None:
        """The domain, beside the disks. Without it the backup proves something, but restores nothing: that is told."""
        try:
            await archive.fetch_all(self._machines.link, name, part)
        except (VmError, OSError) as error:
            text = f"the backup of {name} has no archive of its domain, so it cannot be restored: {error}"
            self._machines.tell("vm.backup_without_domain", "error", text, {"vm": name})

    async def _copied(self, name: str, shelf: Shelf, journal: _Journal) -> Tree:
        files = _files(shelf.part(name, journal.stamp), journal.seen)
        try:
            with held_still([Path(file) for file in journal.seen.disks.values()]):
                found = {disk: await images.look(Path(file)) for disk, file in journal.seen.disks.items()}
                whole, before = sum(image.virtual_size for image in found.values()), 0
                for disk, image in found.items():

                    def told(done: int, before: int = before) -> None:
                        self._machines.backing_up[name] = _COPYING * (before + done) / whole

                    await images.copy(image, files[disk], image.virtual_size, told)
                    before += image.virtual_size
            return await self._shelved(name, shelf, journal, "off")
        except BaseException:
            await asyncio.to_thread(shelf.drop, name, journal.stamp)
            raise

    async def _finished(self, name: str, shelf: Shelf, journal: _Journal) -> Tree:
        """Wait for libvirt's job. If this process is ended meanwhile, the next one goes on."""
        try:
            if not journal.begun:
                raise VmError("failed", "branchline ended before the backup had begun")
            while (seen := await self._looked(name)).runs:
                self._machines.backing_up[name] = _COPYING * seen.part
                await asyncio.sleep(LOOK_AGAIN_S)
            if seen.trouble:
                raise VmError("failed", seen.trouble)
            answer = await self._shelved(name, shelf, journal, "crash" if journal.why else "frozen")
        except (VmError, OSError):
            await self._given_up(name, shelf, journal)
            raise
        await asyncio.to_thread(self._forget, name)
        return answer

    async def _looked(self, name: str) -> job.Progress:
        """Also past a restart of libvirtd, which the job outlives."""
        while True:
            try:
                return await self._machines.link.do(lambda connection: job.progress(connection, name))
            except VmError as error:
                if error.kind != "unavailable":
                    raise
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _shelved(self, name: str, shelf: Shelf, journal: _Journal, how: Consistency) -> Tree:
        part = shelf.part(name, journal.stamp)
        files = _files(part, journal.seen)
        archives = [
            await asyncio.to_thread(measure, part / file, lambda _: None)
            for file in (archive.FILE, archive.MACHINE)
            if (part / file).exists()
        ]
        disks = await asyncio.to_thread(_measured, files, lambda done: self._say(name, _COPYING + 0.2 * done))
        manifest = Manifest(
            name=name,
            taken=journal.taken,
            recipe=journal.recipe,
            uuid=journal.seen.uuid,
            macs=list(journal.seen.macs),
            xml=journal.seen.xml,
            consistency=how,
            why=journal.why,
            disks=disks,
            archives=archives,
            boot=await asyncio.to_thread(_boot_copied, part, journal.seen),
        )
        path = await asyncio.to_thread(shelf.finish, journal.stamp, manifest)
        return {
            "vm": name,
            "backup": journal.stamp,
            "path": str(path),
            "consistency": how,
            "why": journal.why,
            "size": sum(disk.size for disk in disks.values()),
        }

    def _say(self, name: str, part: float) -> None:
        self._machines.backing_up[name] = part

    async def _given_up(self, name: str, shelf: Shelf, journal: _Journal) -> None:
        with contextlib.suppress(VmError):  # it does not run any more
            await self._machines.link.do(lambda connection: job.cancel(connection, name))
        await asyncio.to_thread(shelf.drop, name, journal.stamp)
        await asyncio.to_thread(self._forget, name)

    def _begin_thaw(self, name: str) -> None:
        """In a task of its own: an agent that does not answer must not hold anything else up."""
        if name not in self._thawing and (self._machines.storage.of(name) / _FROZEN).exists():
            self._thawing[name] = asyncio.create_task(self._thaw(name))
            self._thawing[name].add_done_callback(lambda _: self._thawing.pop(name))

    async def _thaw(self, name: str) -> None:
        """Until the guest's file systems are let go, as long as libvirtd and its agent are there."""
        frozen, told = self._machines.storage.of(name) / _FROZEN, False
        while True:
            try:
                if await self._machines.link.do(
                    lambda connection: job.thaw(connection, name, frozen), CHANGE_S
                ):
                    return
            except VmError:
                return  # libvirtd is gone; when it is back, `go_on` is called
            if not told:
                told = True
                text = f"{name}'s file systems may be frozen: its guest agent does not answer; tried again"
                self._machines.tell("vm.frozen", "error", text, {"vm": name})
            await asyncio.sleep(LOOK_AGAIN_S)

    def _write(self, name: str, journal: _Journal) -> None:
        durable.replace(self._machines.storage.of(name) / _JOURNAL, msgspec.json.encode(journal))

    def _read(self, name: str) -> _Journal | None:
        try:
            data = (self._machines.storage.of(name) / _JOURNAL).read_bytes()
            return msgspec.json.decode(data, type=_Journal)
        except (OSError, msgspec.DecodeError):
            return None

    def _forget(self, name: str) -> None:
        (self._machines.storage.of(name) / _JOURNAL).unlink(missing_ok=True)


def _boot_copied(part: Path, seen: job.Seen) -> dict[str, Copied]:
    """What the system of a machine is booted with: an update may change it, and a proof needs what it was."""
    return {
        tag: measure(Path(shutil.copyfile(file, part / tag)), lambda _: None)
        for tag, file in seen.boot.items()
    }


def _taken(seen: job.Seen) -> int:
    """Bytes that the disks of a machine take."""
    return sum(Path(file).stat().st_blocks * 512 for file in seen.disks.values())


def _files(part: Path, seen: job.Seen) -> dict[str, Path]:
    """Where each disk goes, by its name in the guest."""
    return {disk: part / f"{Path(file).stem}.qcow2" for disk, file in seen.disks.items()}


def _measured(files: dict[str, Path], progress: Callable[[float], None]) -> dict[str, Copied]:
    whole, done = sum(file.stat().st_size for file in files.values()) or 1, 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress(done / whole)

    return {disk: measure(file, read) for disk, file in files.items()}
