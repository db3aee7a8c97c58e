"""A machine is made from its recipe, wholly or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from vmhost import calls
from vmhost.abilities import Abilities
from vmhost.domain import domain_xml
from vmhost.durable import replace
from vmhost.errors import VmError
from vmhost.link import CHANGE_S
from vmhost.machines import Known, Machines, Tree
from vmhost.recipe import Recipe
from vmhost.room import equipment_fits, memory_fits
from vmhost.running import Running


class Creation:
    """Of new `machines`, which `running` is to look after."""

    def __init__(self, machines: Machines, running: Running, abilities: Abilities) -> None:
        self._machines = machines
        self._running = running
        self._abilities = abilities
        self._under_way: dict[str, tuple[Recipe, asyncio.Task[Tree]]] = {}

    async def create(self, recipe: Recipe, files: Mapping[str, str] | None = None) -> Tree:
        """Make a machine and start it. Whatever goes wrong, nothing of it is left.

        What the end of this process cuts off is gone on with when the same is asked for again. `files` are texts for
        root alone, by the names they have in its directory.
        """
        name = str(recipe.name)
        if name in self._under_way and self._under_way[name][0] == recipe:
            return await asyncio.shield(self._under_way[name][1])
        self._machines.must_be_left(name)
        if aside := self._machines.storage.gave_way(name):
            raise VmError(
                "refused",
                f"name: {name} has given way to a backup, its disks are in {aside}, and it is about to be put back; "
                "see `branchline events`, or choose another name",
            )
        return await self.make(recipe, files=files)

    async def make(self, recipe: Recipe, uuid: str = "", files: Mapping[str, str] | None = None) -> Tree:
        """As `create`, for who holds the machine: one that is restored, with its `uuid`."""
        name, making = str(recipe.name), self._machines.making
        making[name] = 0.0
        try:
            task = asyncio.create_task(self._create(name, recipe, uuid, files or {}))
            self._under_way[name] = (recipe, task)
            return await task
        finally:
            del making[name], self._under_way[name]

    async def _create(self, name: str, recipe: Recipe, uuid: str, files: Mapping[str, str]) -> Tree:
        machines = self._machines
        ability = await self._abilities.guest(recipe.arch)
        if ability.accelerator is None:
            raise VmError("refused", f"arch: {recipe.arch} guests cannot run here: {ability.why}")
        equipment_fits(recipe)
        await memory_fits(machines.link, recipe.memory)
        if await machines.link.do(lambda connection: calls.exists(connection, name)):
            raise VmError("refused", f"name: there is a machine {name} already; choose another name")
        disks = await machines.storage.check(recipe)

        def progress(part: float) -> None:
            machines.making[name] = part

        defined = False
        try:
            directory = await machines.storage.make(recipe, disks, progress)
            for file, text in files.items():
                await asyncio.to_thread(replace, directory / file, text.encode(), mode=0o600)
            boot = machines.storage.boot(name)
            xml = domain_xml(recipe, ability.accelerator, directory, uuid, boot)
            await machines.link.do(
                lambda connection: calls.define(connection, xml, recipe.autostart), CHANGE_S
            )
            defined = True
            machines.known[name] = Known(int(recipe.stop_within), recipe.autostart, int(recipe.memory))
            await machines.link.do(lambda connection: calls.start(connection, name), CHANGE_S)
            machines.storage.complete(name)
        except (VmError, OSError, asyncio.CancelledError) as error:
            if defined:
                machines.known.pop(name, None)
                self._running.let_go(name)
                await self._undo(name)
            if name not in machines.abandoned and not isinstance(error, asyncio.CancelledError):
                with contextlib.suppress(VmError):  # it is half made then, which is told
                    await asyncio.to_thread(machines.storage.remove, name)
            if isinstance(error, OSError):
                raise VmError(
                    "failed", f"{error.filename or machines.storage.of(name)}: {error.strerror}"
                ) from None
            raise
        self._running.wanted(name)
        how = "" if ability.accelerator == "kvm" else f", emulated and so slow: {ability.why}"
        machines.tell("vm.created", "info", f"{name} has been made and started{how}", {"vm": name})
        return {"name": name, "accelerator": ability.accelerator, "why": ability.why}

    async def _undo(self, name: str) -> None:
        for undo in (calls.force_off, calls.undefine):
            try:
                await self._machines.link.do(lambda connection, undo=undo: undo(connection, name), CHANGE_S)  # type: ignore[misc]
            except VmError as error:
                if error.kind == "unavailable":
                    self._machines.abandoned.add(name)  # taken back when libvirtd is there again
