"""A machine is made from a backup, by what it is: the disk of a directory never comes back, it is made again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vmhost import calls
from vmhost.backup.manifest import Manifest
from vmhost.backup.proving import Proving
from vmhost.backup.remaking import Given, again, is_directory
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.directory.planning import Again, Asked
from vmhost.errors import VmError
from vmhost.link import CHANGE_S
from vmhost.machines import Known, Machines, Tree
from vmhost.recipe import Recipe, from_dict
from vmhost.values import Mac, Name, is_name


@dataclass(frozen=True)
class _Aside:
    """A machine that gave way: where its disks are, and what it was if it was one."""

    path: Path
    xml: str
    known: Known | None


class Restoring:
    """On the libvirtd of `machines`, by `creation`; by `directories` if it is one."""

    def __init__(
        self, machines: Machines, creation: Creation, proving: Proving, directories: Directories
    ) -> None:
        self._machines = machines
        self._creation = creation
        self._proving = proving
        self._directories = directories
        self._remaking: dict[str, asyncio.Task[Tree]] = {}

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
        uuid = manifest.uuid if new_name is None else ""
        aside = await self._set_aside(str(recipe.name))
        try:
            made = await self._creation.create(recipe, uuid)
        except BaseException:
            if aside is not None:
                await self._put_back(str(recipe.name), aside)
            raise
        kept = str(aside.path) if aside is not None else ""
        text = f"{recipe.name} is what it was in the backup {path}"
        if kept:
            text += f"; the disks that it had are in {kept}"
        self._machines.tell("vm.restored", "info", text, {"vm": recipe.name, "path": str(path), "kept": kept})
        return {**made, "kept": kept}

    async def _remake(
        self, recipe: Recipe, path: Path, manifest: Manifest, new_name: str | None, given: Given
    ) -> Tree:
        """It goes on when nobody waits for it any more."""
        name = str(recipe.name)
        if new_name is not None:
            raise VmError("refused", f"{name} is a directory, which is restored in its own place only")
        if name in self._remaking:
            raise VmError("refused", f"{name} is being restored already")
        asked, like = again(recipe, path, manifest, given)
        if like.archive is not None and (problem := await self._proving.check(path, manifest)):
            raise VmError("refused", f"{path} is no good: {problem}; restore another backup")
        task = self._remaking[name] = asyncio.create_task(self._made_again(asked, like, path))
        task.add_done_callback(lambda _: self._remaking.pop(name))
        return await asyncio.shield(task)

    async def _made_again(self, asked: Asked, like: Again, path: Path) -> Tree:
        aside = await self._set_aside(asked.name)
        try:
            made = await self._directories.create(asked, like)
        except BaseException:
            if aside is not None:
                await self._put_back(asked.name, aside)
            raise
        kept = str(aside.path) if aside is not None else ""
        whence = f"with the domain of the backup {path}" if like.archive else "from what the centre has"
        text = f"{asked.name} is made again {whence}"
        if kept:
            text += f"; the disks that it had are in {kept}, and must never be booted"
        self._machines.tell("vm.restored", "info", text, {"vm": asked.name, "path": str(path), "kept": kept})
        return {**made, "kept": kept}

    async def _set_aside(self, name: str) -> _Aside | None:
        """Where the disks of the machine are now, and its definition; None if there is none."""
        machines = self._machines
        there = await machines.link.do(lambda connection: calls.exists(connection, name))
        xml, known = "", machines.must_know(name) if there else None
        if there and await machines.state(name) != "off":
            raise VmError("refused", f"{name} runs; `branchline vm stop {name}` first")
        machines.must_be_left(name)
        if not there and (machines.storage.is_half_made(name) or not machines.storage.of(name).exists()):
            return None
        if there:
            xml = await machines.link.do(lambda connection: calls.definition(connection, name))
            await machines.link.do(lambda connection: calls.undefine(connection, name), CHANGE_S)
            machines.known.pop(name, None)
        try:
            return _Aside(await asyncio.to_thread(machines.storage.set_aside, name), xml, known)
        except OSError as error:
            await self._define(name, xml, known)
            raise VmError("failed", f"{error.filename}: {error.strerror}") from None

    async def _put_back(self, name: str, aside: _Aside) -> None:
        await asyncio.to_thread(self._machines.storage.put_back, name, aside.path)
        await self._define(name, aside.xml, aside.known)

    async def _define(self, name: str, xml: str, known: Known | None) -> None:
        """The machine that gave way is one again, if it was."""
        if known is not None:
            await self._machines.link.do(
                lambda connection: calls.define(connection, xml, known.autostart), CHANGE_S
            )
            self._machines.known[name] = known


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
