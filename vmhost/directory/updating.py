"""A new system for a machine that has slots: written beside the old one, booted, proved; or else the old one again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from vmhost import calls, images
from vmhost.abilities import disk_left
from vmhost.directory import bundle, slots
from vmhost.directory.hearing import Status, hear
from vmhost.directory.planning import must_have_joined
from vmhost.directory.reaching import wanting
from vmhost.directory.slots import Slots
from vmhost.errors import VmError
from vmhost.health.plan import Health, target_of
from vmhost.health.round import check
from vmhost.lifecycle import Lifecycle
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, Tree
from vmhost.recipe import from_dict
from vmhost.running import Running
from vmhost.values import show_size

PROVED_WITHIN_S = 900.0
"""An emulated guest on a busy box takes minutes to its directory."""

RETRY_S = 60.0
"""So long after it could not go back a machine is tried again."""

_AGAIN_S = 1.0
_EARLY = {"boot", "disks"}  # steps in which nothing runs yet that has to end orderly


class Updating:
    """Of all `machines`. `scratch` is a directory, best in memory, for what a round of checks needs as files."""

    def __init__(self, machines: Machines, running: Running, lifecycle: Lifecycle, scratch: Path) -> None:
        self._machines = machines
        self._scratch = scratch
        self._stirred = asyncio.Event()  # machines are known again, of which one may be half updated
        running.on_stock.append(self._stirred.set)
        self._lifecycle = lifecycle
        self._under_way: dict[str, Status] = {}
        self._stuck: set[str] = set()  # told that they cannot go back

    async def run(self) -> None:
        """Undo what the end of this process or of libvirtd has cut off, until cancelled."""
        passed_over = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if self._stuck or passed_over else None):
                    await self._stirred.wait()
            self._stirred.clear()
            passed_over = False
            for name in list(self._machines.known):
                try:
                    with self._machines.holding(name, "updated"):
                        kept = await asyncio.to_thread(slots.read, self._machines.storage.of(name))
                        if kept is not None and kept.trying is not None:
                            last = Status(
                                "start", "branchline or libvirtd ended before it had proved healthy"
                            )
                            await self._undo(name, kept, last)
                except (
                    VmError
                ):  # something else is under way with it, or libvirtd is gone, or it is said already
                    passed_over = True

    def under_way(self) -> Tree:
        """By machine, how far its update is: step, text, part."""
        return {
            name: {"step": said.step, "text": said.text, "part": said.part}
            for name, said in self._under_way.items()
        }

    async def update(self, name: str, source: Path) -> Tree:
        """Let a machine that runs boot the system of the bundle in `source` from now on.

        VmError, and it runs the one it had, if the bundle is not good or does not become healthy.
        """
        self._machines.must_know(name)
        with self._machines.holding(name, "updated"):
            self._under_way[name] = Status("copy", "the bundle is verified")
            try:
                return await self._update(name, source)
            except OSError as error:  # and nothing was changed but the spare slot
                where = error.filename or self._machines.storage.of(name)
                raise VmError("failed", f"{where}: {error.strerror}") from None
            finally:
                del self._under_way[name]

    async def _update(self, name: str, source: Path) -> Tree:
        directory = self._machines.storage.of(name)
        kept = await asyncio.to_thread(slots.read, directory)
        if kept is None:
            raise VmError("refused", f"{name} was not made from a bundle; update it from inside")
        if kept.trying is not None:  # and it may run from the slot that the next one would be written to
            await self._undo(name, kept, Status("start", "an earlier update has not come to its end"))
            kept = kept.undone()
        if await self._machines.state(name) != "running":
            raise VmError(
                "refused", f"{name} does not run and so cannot prove its new system; start it first"
            )
        recipe = await self._recipe(name)
        must_have_joined(name, recipe)
        old = await asyncio.to_thread(bundle.taken, slots.slot_directory(directory, kept.active))
        new = await asyncio.to_thread(bundle.read, source, self._machines.storage.trusted)
        await asyncio.to_thread(_fits, source, old, new, directory)
        await asyncio.to_thread(self._take, name, source, new, slots.slot_directory(directory, kept.spare))
        plan = from_dict(recipe, name).health
        before = await self._well(plan)
        trying = kept.tried()
        await asyncio.to_thread(slots.write, directory, trying)
        last = Status("stop", f"{name} shuts down to boot version {new.version}")
        self._under_way[name] = last
        try:
            await self._lifecycle.shut_down(name)
            await self._boot(name, trying)
            last = Status("boot", f"{name} boots version {new.version}")
            async with asyncio.timeout(PROVED_WITHIN_S):
                last = await self._healthy(name, last)
                if plan is not None and last.error is None:
                    await self._serves(name, plan, before)
            wrong = last.error
            if wrong is None:
                await asyncio.to_thread(slots.write, directory, trying.proved())
        except TimeoutError:
            last = self._under_way[name]
            wrong = f"it was not healthy within {PROVED_WITHIN_S:g} s: {last.text}"
        except (VmError, OSError) as error:
            wrong = str(error)
        if wrong is not None:
            await self._undo(name, trying, Status(last.step, wrong))
            raise VmError("failed", f"{name} runs version {old.version} again: {wrong}")
        with contextlib.suppress(VmError):  # it matters only to who makes the machine again
            await self._machines.link.do(
                lambda connection: calls.keep(connection, name, bundle=str(source)), CHANGE_S
            )
        evidence = {
            "vm": name,
            "from": old.version,
            "to": new.version,
            "said": last.text,
            "well": sorted(before),
        }
        self._machines.tell("vm.updated", "info", f"{name} runs version {new.version}: {last.text}", evidence)
        return {"name": name, "state": "running", "from": old.version, "to": new.version}

    def _take(self, name: str, source: Path, new: bundle.Manifest, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)

        def progress(part: float) -> None:
            self._under_way[name] = Status("copy", f"version {new.version} is copied and verified", part)

        bundle.take(source, new, target, progress)

    async def _switch(self, name: str, kept: Slots) -> None:
        boot = await asyncio.to_thread(self._machines.storage.boot, name, kept.booted)
        assert boot is not None
        await self._machines.link.do(lambda connection: calls.boot_from(connection, name, boot), CHANGE_S)

    async def _boot(self, name: str, kept: Slots) -> None:
        await self._switch(name, kept)
        await self._machines.link.do(lambda connection: calls.start(connection, name), CHANGE_S)

    async def _healthy(self, name: str, last: Status) -> Status:
        """The first thing it says that is the end: done, or an error."""
        while True:
            socket = await self._machines.link.do(lambda connection: calls.status(connection, name))
            if socket is not None:
                async with contextlib.aclosing(hear(socket)) as heard:
                    async for last in heard:
                        self._under_way[name] = last
                        if last.done or last.error is not None:
                            return last
            # It has ended; a machine with autostart is started again.
            if await self._machines.state(name) == "off":
                return Status(last.step, last.text, error=f"it has ended after it said: {last.text}")
            await asyncio.sleep(_AGAIN_S)

    async def _recipe(self, name: str) -> Tree:
        """What is kept of it."""
        for one in await self._machines.link.do(calls.survey):
            if one.name == name:
                return one.recipe
        raise VmError("not_found", f"there is no machine {name} any more")

    async def _well(self, plan: Health | None) -> frozenset[str]:
        """The checks that are well now, and so must be with the new system."""
        if plan is None:
            return frozenset()
        results = await check(target_of(plan), scratch=self._scratch)
        return frozenset(one.name for one in results if one.ok)

    async def _serves(self, name: str, plan: Health, before: frozenset[str]) -> None:
        """Until all that was well `before` is well again. VmError if the machine ends."""
        while wrong := wanting(await check(target_of(plan), scratch=self._scratch), before):
            text = "; ".join(f"{one.name}: {one.evidence}" for one in wrong)
            self._under_way[name] = Status("health", text)
            if await self._machines.state(name) == "off":
                raise VmError("failed", f"it has ended; {text}")
            await asyncio.sleep(_AGAIN_S)

    async def _undo(self, name: str, kept: Slots, last: Status) -> None:
        """Boot the slot that was healthy, and say so. VmError if that fails; then it is tried again."""
        directory, link = self._machines.storage.of(name), self._machines.link
        old = slots.slot_directory(directory, kept.active)
        try:
            # First of all: whoever starts it from now on boots the old one.
            await self._switch(name, kept.undone())
            if await link.do(lambda connection: calls.booted(connection, name)) != str(old / "vmlinuz"):
                await self._end(name, last)
                await self._boot(name, kept.undone())
            await asyncio.to_thread(slots.write, directory, kept.undone())
        except (VmError, OSError) as error:
            text = f"{name} cannot go back to the system that it had: {error}; tried again"
            if name not in self._stuck:
                self._stuck.add(name)
                self._machines.tell("vm.update_stuck", "error", text, {"vm": name})
            raise VmError("failed", text) from None
        self._stuck.discard(name)
        version = (await asyncio.to_thread(bundle.taken, old)).version
        evidence = {"vm": name, "step": last.step, "said": last.text, "to": version}
        text = f"{name} runs version {version} again: {last.text}"
        self._machines.tell("vm.update_undone", "error", text, evidence)

    async def _end(self, name: str, last: Status) -> None:
        """Orderly, if there is anything in it that can do so."""
        if last.step not in _EARLY:
            with contextlib.suppress(VmError):
                await self._lifecycle.shut_down(name)
                return
        await self._lifecycle.pull_plug(name)


def _fits(source: Path, old: bundle.Manifest, new: bundle.Manifest, directory: Path) -> None:
    """VmError if it is not a later version for the same processor, or there is no room."""
    if new.arch != old.arch:
        raise VmError("refused", f"{source} is for {new.arch}, the machine is {old.arch}")
    if new.version <= old.version:
        raise VmError(
            "refused",
            f"{source} is version {new.version}, the machine has {old.version} already; build a newer one",
        )
    needed, left = bundle.size(new) + images.RESERVE, disk_left(directory)
    if needed > left:
        raise VmError(
            "refused",
            f"{directory} has {show_size(left)}; {show_size(needed)} are needed, of which "
            f"{show_size(images.RESERVE)} stay free",
        )
