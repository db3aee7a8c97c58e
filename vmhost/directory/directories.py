"""Directories of this box: a machine is made from a bundle and a seed, and watched until it serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from vmhost import calls
from vmhost.abilities import Abilities
from vmhost.creation import Creation
from vmhost.directory import attached, bundle, planning, tls
from vmhost.directory.answering import check_free
from vmhost.directory.following import follow
from vmhost.directory.hearing import EndedError, Status
from vmhost.directory.planning import CA_FILE, HEALTH_FILE, PASSWORD_FILE, SEED, Again, Asked
from vmhost.directory.reaching import check_centre, check_service
from vmhost.domain import disk_file
from vmhost.errors import VmError
from vmhost.lifecycle import Lifecycle
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, Tree
from vmhost.recipe import from_dict
from vmhost.running import Running

PATIENCE_S = 1800.0
"""A machine that says nothing new for so long will not. Emulated ones are slow."""
_DETACHED_LOOKS = 120  # half a second apart
_SEED_BYTES = 4 * 2**20
_SEED_SCRATCH = ".seed-"  # beside the machines: where a seed is made, with its secrets
_LIVES = 60
"""One that ends in the middle of its join is started again by who keeps it: so often it is looked whether it is."""
_LOOK_S = 1.0


class Directories:
    """Made by `creation` on `machines`; what fails is undone by `lifecycle`."""

    def __init__(
        self,
        machines: Machines,
        running: Running,
        abilities: Abilities,
        creation: Creation,
        lifecycle: Lifecycle,
    ) -> None:
        self._machines = machines
        self._abilities = abilities
        self._stirred = asyncio.Event()  # machines are known again, of which one may be on its way
        running.on_stock.append(self._stirred.set)
        running.on_change.append(self._heard)
        self._creation = creation
        self._lifecycle = lifecycle
        self._told: dict[str, Status] = {}
        self._making: dict[str, tuple[object, asyncio.Task[Tree]]] = {}

    async def create(self, asked: Asked, again: Again | None = None) -> Tree:
        """Make a directory that answers, or one `again`. VmError if that cannot be, and then nothing is left of it.

        It goes on when nobody waits for it any more; who asks for the same again waits for the same.
        """
        if asked.name not in self._making:
            task = asyncio.create_task(self._create(asked, again))
            self._making[asked.name] = ((asked, again), task)
            task.add_done_callback(lambda _: self._making.pop(asked.name))
        under_way, task = self._making[asked.name]
        if under_way != (asked, again):
            raise VmError("refused", f"{asked.name} is being made already")
        return await asyncio.shield(task)

    async def _create(self, asked: Asked, again: Again | None) -> Tree:
        archive = again.archive if again is not None else None
        password = f"{secrets.token_urlsafe(15)}.aA1" if asked.join == "new" and archive is None else ""
        seed = planning.seed(asked, password, f"{secrets.token_urlsafe(48)}.aA1")
        host = f"{seed['host']}.{seed['realm'].lower()}"
        storage = self._machines.storage
        if await self._machines.link.do(lambda connection: calls.exists(connection, asked.name)):
            found = await self._machines.link.do(calls.survey)
            if any(one.name == asked.name and planning.is_joining(one.recipe) for one in found):
                raise VmError(
                    "refused",
                    f"name: {asked.name} joins already, since before branchline was started again; "
                    "`branchline events` says when it serves (vm.directory), or why not",
                )
            raise VmError("refused", f"name: there is a machine {asked.name} already; choose another name")
        try:
            self._say_check(asked.name, "looking whether its address is free")
            await check_free(asked.bridge, seed["address"].partition("/")[0])
            if asked.join != "new":
                await check_centre(
                    seed["realm"], seed["resolvers"], lambda said: self._say_check(asked.name, said)
                )
            seed["tls"] = await asyncio.to_thread(tls.make, host, seed["address"])
            files = {HEALTH_FILE: f"{seed['health']['password']}\n", CA_FILE: seed["tls"]["ca"]}
            if password:
                files[PASSWORD_FILE] = f"{password}\n"
            storage.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
            system = await asyncio.to_thread(bundle.read, Path(asked.bundle), storage.trusted)
            ability = await self._abilities.guest(system.arch)
            self._told[asked.name] = Status("machine", "making the machine", 0.0)
            with tempfile.TemporaryDirectory(prefix=_SEED_SCRATCH, dir=storage.directory) as scratch:
                image = await asyncio.to_thread(_seed_image, seed, Path(scratch), archive)
                recipe = planning.recipe(
                    asked, seed, str(image), storage.of(asked.name), system.arch, ability.accelerator
                )
                if again is None:
                    made = await self._creation.create(recipe, files=files)
                else:
                    recipe = planning.like(recipe, again.recipe)
                    made = await self._creation.make(recipe, files=files)
            try:
                await self._watch(asked.name)
                results = await check_service(planning.health_of(recipe))
            except VmError as error:
                left = await self._undo(asked.name)
                text = f"{asked.name} has not become a directory and {left or 'is taken back'}: {error}"
                self._machines.tell("vm.directory_failed", "error", text, {"vm": asked.name})
                raise
            await self._drop_seed(asked.name)
        finally:
            self._told.pop(asked.name, None)
        text = f"{host} serves {seed['site']} as a directory"
        self._machines.tell("vm.directory", "info", text, {"vm": asked.name, "role": seed["role"]})
        where = {"password": str(self._machines.storage.of(asked.name) / PASSWORD_FILE)} if password else {}
        return {**made, "host": host, "address": seed["address"], "health": results, **where}

    def _say_check(self, name: str, text: str) -> None:
        self._told[name] = Status("check", text, 0.0)

    def progress(self, name: str) -> Tree:
        """How far the directory is that is being made; empty if none is."""
        told = self._told.get(name)
        if told is None:
            return {}
        return {
            "step": told.step,
            "text": told.text,
            "part": self._machines.making.get(name, told.part),
        }

    async def run(self) -> None:
        """Watch those whose making was cut off by the end of this process: they join by themselves."""
        await asyncio.to_thread(_sweep, self._machines.storage.directory)
        watching: dict[str, asyncio.Task[None]] = {}
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            with contextlib.suppress(VmError):
                for one in await self._machines.link.do(calls.survey):
                    has_seed = planning.is_joining(one.recipe)
                    left = one.recipe.get("kind") == "directory" and self._seed_of(one.name).exists()
                    if has_seed and one.state == "off":
                        continue  # it goes on when it is started
                    if (has_seed or left) and one.name not in self._told and one.name not in watching:
                        finish = self._finish(one) if has_seed else self._drop_left(one.name)
                        watching[one.name] = asyncio.create_task(finish)
                        watching[one.name].add_done_callback(lambda _, name=one.name: watching.pop(name))  # type: ignore[misc]

    def _heard(self, name: str, event: int, detail: int) -> None:  # noqa: ARG002 - as Running calls it
        if event == calls.STARTED:
            self._stirred.set()

    async def _finish(self, one: calls.Found) -> None:
        name = one.name
        try:
            await self._watch(name)
            await check_service(planning.health_of(from_dict(one.recipe, name)))
            await self._drop_seed(name)
        except EndedError:
            return  # somebody has switched it off: it goes on when it is started
        except VmError as error:
            if error.kind == "unavailable":
                return  # libvirtd is gone: when it is back, again
            text = f"{name} has not become a directory: {error}; `branchline vm delete {name} --disks`, then again"
            self._machines.tell("vm.directory_failed", "error", text, {"vm": name})
        else:
            self._machines.tell("vm.directory", "info", f"{name} serves as a directory", {"vm": name})

    async def _watch(self, name: str) -> None:
        """Until it has joined, and over its crashes. VmError if it cannot; EndedError if it stays off."""
        for _ in range(_LIVES):
            try:
                return await self._watch_life(name)
            except EndedError as error:
                ended = error
            await asyncio.sleep(_LOOK_S)
        raise ended

    async def _watch_life(self, name: str) -> None:
        if await self._machines.state(name) == "off":
            raise EndedError("failed", "the machine has ended while it joined, and stays off")
        socket = await self._machines.link.do(lambda connection: calls.status(connection, name))
        if socket is None:
            raise VmError("failed", f"{name} has no status channel; is its bundle one of a directory?")
        async with contextlib.aclosing(follow(socket, PATIENCE_S)) as heard:
            async for said in heard:
                if name in self._told:
                    self._told[name] = said
                if said.error:
                    raise VmError("failed", f"{name}: {said.error}")
                if said.done:
                    return

    async def _drop_left(self, name: str) -> None:
        """The seed of a machine that has joined, after a process that was killed before the file was gone."""
        try:
            await self._drop_seed(name)
        except VmError as error:  # when libvirtd is found again, again
            text = f"{name} has joined, and its seed, with its password, is still there: {error}"
            self._machines.tell("vm.seed_left", "warning", text, {"vm": name})

    def _seed_of(self, name: str) -> Path:
        return disk_file(self._machines.storage.of(name), SEED)

    async def _drop_seed(self, name: str) -> None:
        file = self._seed_of(name)
        link = self._machines.link
        await link.do(lambda connection: attached.detach(connection, name, file), CHANGE_S)
        for _ in range(_DETACHED_LOOKS):
            if not await link.do(lambda connection: attached.is_attached(connection, name, file)):
                break
            await asyncio.sleep(0.5)
        try:
            await asyncio.to_thread(file.unlink, missing_ok=True)
        except OSError as error:
            raise VmError("failed", f"{file} cannot be deleted: {error.strerror}") from None

    async def _undo(self, name: str) -> str:
        """What is left of it, and what to do; empty if nothing is."""
        try:
            found = [one for one in await self._machines.link.do(calls.survey) if one.name == name]
            if not any(planning.is_joining(one.recipe) for one in found):
                return (
                    "is not there any more"  # deleted meanwhile: what bears its name now is another machine
                )
            await self._lifecycle.pull_plug(name)
            await self._lifecycle.forget(name, disks=True)
        except VmError as error:
            return (
                f"cannot be taken back ({error}): it is watched again when libvirtd is back, "
                f"`branchline vm delete {name} --disks` drops it"
            )
        return ""


def _sweep(directory: Path) -> None:
    """What a process that was killed has left."""
    for scratch in directory.glob(f"{_SEED_SCRATCH}*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _seed_image(seed: dict[str, Any], scratch: Path, archive: Path | None) -> Path:
    """A disk with the seed on it, and the `archive` of a domain, in a directory that only we may read."""
    if seed["role"] != "new":  # there the centre has made the account of the health checks
        seed = {name: value for name, value in seed.items() if name != "health"}
    tree, image = scratch / "tree", scratch / "seed.raw"
    tree.mkdir()
    with os.fdopen(os.open(tree / "seed.json", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(seed if archive is None else {**seed, "archive": archive.name}, file)
    size = _SEED_BYTES
    if archive is not None:
        shutil.copyfile(archive, tree / archive.name)
        size += archive.stat().st_size * 11 // 10
    tool = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        raise VmError("refused", "mke2fs is not installed; `apt install e2fsprogs`")
    command = [tool, "-q", "-t", "ext4", "-L", "BLSEED", "-d", str(tree), str(image), f"{size // 1024}K"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise VmError("failed", f"the seed cannot be made: {done.stderr.strip()}")
    return image
