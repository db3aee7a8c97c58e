"""A machine is made from a backup, by what it is: the disk of a directory never comes back, it is made again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from vmhost import calls, gave_way
from vmhost.backup.manifest import Manifest
from vmhost.backup.proving import Proving
from vmhost.backup.remaking import Given, again, is_directory
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.directory.planning import Again, Asked
from vmhost.errors import VmError
from vmhost.gave_way import GaveWay
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, Tree, known
from vmhost.recipe import Recipe, from_dict
from vmhost.values import Mac, Name, is_name


class Restoring:
    """On the libvirtd of `machines`, by `creation`; by `directories` if it is one."""

    def __init__(
        self, machines: Machines, creation: Creation, proving: Proving, directories: Directories
    ) -> None:
        self._machines = machines
        self._creation = creation
        self._proving = proving
        self._directories = directories
        self._remaking: set[asyncio.Task[Tree]] = set()
        self._stuck: dict[str, str] = {}  # what was told of each

    async def restore(self, path: Path, manifest: Manifest, new_name: str | None, given: Given) -> Tree:
        """A machine like that of a backup in the directory `path`, called so or as it was.

        One that is there and off gives way: its disks are kept aside. Whatever goes wrong, it is there as before.
        """
        recipe = from_dict(manifest.recipe, str(path))
        if is_directory(recipe):
            return await self._remake(recipe, path, manifest, new_name, given)
        if given != Given():
            raise VmError(
                "refused", f"{recipe.name} is no directory: no stage file, host or bundle is needed"
            )
        if new_name is not None and not is_name(new_name):
            raise VmError("refused", f"{new_name!r} cannot be the name of a machine")
        if problem := await self._proving.check(path, manifest):
            raise VmError("refused", f"{path} is no good: {problem}; restore another backup")
        recipe = _restored(recipe, path, manifest, new_name)
        with self._machines.holding(str(recipe.name), "restored"):
            return await self._restore(path, recipe, manifest.uuid if new_name is None else "")

    async def _restore(self, path: Path, recipe: Recipe, uuid: str) -> Tree:
        name = str(recipe.name)
        text = f"{name} is what it was in the backup {path}"
        return await self._replaced(name, GaveWay(str(path), text), lambda: self._creation.make(recipe, uuid))

    async def _replaced(self, name: str, note: GaveWay, make: Callable[[], Awaitable[Tree]]) -> Tree:
        """What `make` makes of it; the machine is held by the caller."""
        if self._machines.storage.gave_way(name):
            await self._settle(name)  # of a restore that a crash has cut off
        aside = await self._set_aside(name, note)
        try:
            made = await make()
        except BaseException:
            with contextlib.suppress(VmError):  # it is told, and tried again
                await self._settle(name)
            raise
        kept = str(aside or "")
        if aside is not None:
            await asyncio.to_thread(gave_way.settle, aside)
        self._say_restored(name, note, kept)
        return {**made, "kept": kept}

    async def _remake(
        self, recipe: Recipe, path: Path, manifest: Manifest, new_name: str | None, given: Given
    ) -> Tree:
        """It goes on when nobody waits for it any more."""
        name = str(recipe.name)
        if new_name is not None:
            raise VmError("refused", f"{name} is a directory, which is restored in its own place only")
        asked, like = again(recipe, path, manifest, given)
        if like.archive is not None and (problem := await self._proving.check(path, manifest)):
            raise VmError("refused", f"{path} is no good: {problem}; restore another backup")
        task = asyncio.create_task(self._made_again(asked, like, path))
        self._remaking.add(task)
        task.add_done_callback(self._remaking.discard)
        return await asyncio.shield(task)

    async def _made_again(self, asked: Asked, like: Again, path: Path) -> Tree:
        whence = f"with the domain of the backup {path}" if like.archive else "from what the centre has"
        note = GaveWay(str(path), f"{asked.name} is made again {whence}", beware=", and must never be booted")
        with self._machines.holding(asked.name, "restored"):
            return await self._replaced(asked.name, note, lambda: self._directories.create(asked, like))

    def _say_restored(self, name: str, note: GaveWay, kept: str) -> None:
        text = note.outcome
        if kept:
            text += f"; the disks that it had are in {kept}{note.beware}"
        self._machines.tell("vm.restored", "info", text, {"vm": name, "path": note.backup, "kept": kept})

    async def _set_aside(self, name: str, note: GaveWay) -> Path | None:
        """Where the disks of the machine are now, which is none any more; None if there is none."""
        machines = self._machines
        there = await machines.link.do(lambda connection: calls.exists(connection, name))
        known = machines.must_know(name) if there else None
        if there and await machines.state(name) != "off":
            raise VmError("refused", f"{name} runs; `branchline vm stop {name}` first")
        disks = machines.storage.of(name)
        if not there and (machines.storage.is_half_made(name) or not disks.exists()):
            return None
        xml = ""
        if there:
            xml = await machines.link.do(lambda connection: calls.definition(connection, name))
        note = msgspec.structs.replace(note, xml=xml, autostart=known is not None and known.autostart)
        try:
            await asyncio.to_thread(note.write, disks)
            if there:
                await machines.link.do(lambda connection: calls.undefine(connection, name), CHANGE_S)
                machines.known.pop(name, None)
            return await asyncio.to_thread(machines.storage.set_aside, name)
        except (VmError, OSError) as error:
            with contextlib.suppress(VmError):
                await self._settle(name)
            if isinstance(error, OSError):
                raise VmError("failed", f"{error.filename}: {error.strerror}") from None
            raise

    async def go_on(self) -> None:
        """Bring restores to an end that a crash, or the loss of libvirtd, has cut off."""
        machines = self._machines
        for name, _ in await asyncio.to_thread(machines.storage.all_gave_way):
            # What fails is told; what is under way is waited for.
            with contextlib.suppress(VmError), machines.holding(name, "restored"):
                await self._settle(name)

    async def _settle(self, name: str) -> None:
        """The machine is what a restore has made of it, or else what it was. VmError if it is neither, and told."""
        machines = self._machines
        if name in machines.abandoned:
            return  # what was made of it is taken back first
        all_places = await asyncio.to_thread(machines.storage.all_gave_way)
        for place in [one for other, one in all_places if other == name]:
            try:
                await self._settle_one(name, place)
            except (VmError, OSError) as error:
                text = (
                    f"{name} gave way to a backup and is not what it was yet: {error}; all its disks are in {place}, "
                    f"with its definition in {gave_way.NOTE} there; it is tried again"
                )
                if self._stuck.get(name) != text:
                    self._stuck[name] = text
                    machines.tell("vm.restore_stuck", "error", text, {"vm": name, "kept": str(place)})
                raise VmError("failed", text) from None
        self._stuck.pop(name, None)

    async def _settle_one(self, name: str, place: Path) -> None:
        machines, disks = self._machines, self._machines.storage.of(name)
        note = await asyncio.to_thread(gave_way.read, place)
        if note is None:
            return
        defined = await machines.link.do(lambda connection: calls.exists(connection, name))
        if place != disks and defined and disks.exists():
            await asyncio.to_thread(gave_way.settle, place)
            self._say_restored(name, note, str(place))
            return
        if place != disks:
            if defined:  # with disks that could not be made
                await machines.link.do(lambda connection: calls.undefine(connection, name), CHANGE_S)
            defined = False
            await asyncio.to_thread(machines.storage.put_back, name, place)
        if note.xml and not defined:
            await machines.link.do(
                lambda connection: calls.define(connection, note.xml, note.autostart and not note.beware),
                CHANGE_S,
            )
        for one in await machines.link.do(calls.survey):
            if one.name == name:
                machines.known[name] = known(one)
        await asyncio.to_thread(gave_way.settle, disks)
        text = f"{name} is what it was: it was not restored from {note.backup}; try that again if it is still wanted"
        if note.beware:  # its successor may have taken its place at the centre before it failed
            text += ". It is not started by itself: if the new one had joined, this one must never be booted"
        machines.tell("vm.restore_undone", "warning", text, {"vm": name, "path": note.backup})


def _restored(recipe: Recipe, path: Path, manifest: Manifest, new_name: str | None) -> Recipe:
    """What the machine is made from. A new name means new network addresses: the other may still be there."""
    files = {Path(disk.file).stem: path / disk.file for disk in manifest.disks.values()}
    if missing := [disk.name for disk in recipe.disks if disk.name not in files]:
        raise VmError("refused", f"the disk {missing[0]} is not in the backup; restore another one")
    macs = manifest.macs if new_name is None else []
    return msgspec.structs.replace(
        recipe,
        name=recipe.name if new_name is None else Name(new_name),
        disks=tuple(msgspec.structs.replace(disk, image=str(files[disk.name])) for disk in recipe.disks),
        networks=tuple(
            msgspec.structs.replace(network, mac=Mac(mac) if mac else None)
            for network, mac in zip(recipe.networks, [*macs, *([None] * len(recipe.networks))], strict=False)
        ),
    )
