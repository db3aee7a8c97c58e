"""The virtual machines of this box: made, started, stopped, kept running, deleted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from vmhost import calls
from vmhost.abilities import EMULATORS, Abilities, disk_left, memory_left
from vmhost.domain import domain_xml
from vmhost.errors import VmError
from vmhost.keeper import Keeper
from vmhost.link import CHANGE_S, Link
from vmhost.recipe import Recipe
from vmhost.storage import Storage
from vmhost.values import MIB, is_name, show_size

Severity = Literal["info", "warning", "error"]
Tell = Callable[[str, Severity, str, dict[str, Any]], None]

MEMORY_RESERVE = 256 * MIB  # of the router, at the moment a machine is made
PRESS_AGAIN_S = 10.0  # a guest that is just booting misses the power button
FORCED_OFF_S = 30.0
Tree = dict[str, Any]


class Host:
    """On the libvirtd of `uri`, disks in `directory`. `tell` hears what happens: kind, severity, text, evidence."""

    def __init__(self, uri: str, directory: Path, tell: Tell) -> None:
        self._tell = tell
        self._storage = Storage(directory)
        self._link = Link(uri, on_event=self._heard, on_up=self._up, on_down=self._down)
        self._abilities = Abilities()
        self._keeper = Keeper()
        self._stirred = asyncio.Event()  # something for the keeper
        self._returned = asyncio.Event()  # libvirtd, whose machines have not been looked through
        self._making: dict[str, float] = {}  # name, fraction done
        self._stopping: dict[str, set[asyncio.Future[None]]] = {}
        self._known: dict[str, Tree] = {}  # our machines and their recipes

    async def run(self) -> None:
        """Keep machines running, until cancelled."""
        self._link.start()
        await asyncio.gather(self._take_stock(), self._restart())

    # What people ask.

    async def abilities(self) -> Tree:
        """What this host can do, and why not more."""
        guests = {}
        for arch in EMULATORS:
            ability = await self._abilities.guest(arch)
            guests[arch] = {"accelerator": ability.accelerator, "why": ability.why}
        version = ""
        with contextlib.suppress(VmError):
            version = await self._link.do(calls.version)
        return {
            "libvirt": {"up": not self._link.trouble, "version": version, "why": self._link.trouble},
            "guests": guests,
            "cpus": os.cpu_count(),
            "memory_left": memory_left(),
            "directory": str(self._storage.directory),
            "disk_left": disk_left(self._storage.directory),
        }

    async def machines(self) -> list[Tree]:
        """All of them, also those that are being made."""
        found = [
            {
                "name": one.name,
                "state": one.state,
                "autostart": one.autostart,
                "memory": one.recipe.get("memory"),
                "vcpus": one.recipe.get("vcpus"),
                "arch": one.recipe.get("arch"),
            }
            for one in await self._link.do(calls.survey)
        ]
        making = [
            {"name": name, "state": "being made", "progress": part} for name, part in self._making.items()
        ]
        return sorted(making + [one for one in found if one["name"] not in self._making], key=_name)

    async def create(self, recipe: Recipe) -> Tree:
        """Make a machine and start it. Whatever goes wrong, nothing of it is left."""
        name = str(recipe.name)
        if name in self._making:
            raise VmError("refused", f"{name} is being made already")
        self._making[name] = 0.0
        try:
            return await self._create(name, recipe)
        finally:
            del self._making[name]

    async def _create(self, name: str, recipe: Recipe) -> Tree:
        ability = await self._abilities.guest(recipe.arch)
        if ability.accelerator is None:
            raise VmError("refused", f"arch: {recipe.arch} guests cannot run here: {ability.why}")
        _fits(recipe)
        if await self._link.do(lambda connection: calls.exists(connection, name)):
            raise VmError("refused", f"name: there is a machine {name} already; choose another name")
        disks = await self._storage.check(recipe)

        def progress(part: float) -> None:
            self._making[name] = part

        defined = False
        try:
            directory = await self._storage.make(recipe, disks, progress)
            xml = domain_xml(recipe, ability.accelerator, directory)
            await self._link.do(lambda connection: calls.define(connection, xml, recipe.autostart), CHANGE_S)
            defined = True
            await self._link.do(lambda connection: calls.start(connection, name), CHANGE_S)
            self._storage.complete(name)
        except (VmError, OSError, asyncio.CancelledError) as error:
            if defined:
                await self._undo(name)
            self._storage.remove(name)
            if isinstance(error, OSError):
                raise VmError(
                    "failed", f"{error.filename or self._storage.of(name)}: {error.strerror}"
                ) from None
            raise
        self._known[name] = {"stop_within": int(recipe.stop_within), "autostart": recipe.autostart}
        self._wanted(name)
        how = "" if ability.accelerator == "kvm" else f", emulated and so slow: {ability.why}"
        self._tell("vm.created", "info", f"{name} has been made and started{how}", {"vm": name})
        return {"name": name, "accelerator": ability.accelerator, "why": ability.why}

    async def _undo(self, name: str) -> None:
        with contextlib.suppress(VmError):  # it does not run
            await self._link.do(lambda connection: calls.force_off(connection, name), CHANGE_S)
        with contextlib.suppress(VmError):
            await self._link.do(lambda connection: calls.undefine(connection, name), CHANGE_S)

    async def start(self, name: str) -> Tree:
        """Start a machine that is off."""
        self._must_know(name)
        await self._link.do(lambda connection: calls.start(connection, name), CHANGE_S)
        return {"name": name, "state": "running"}

    async def stop(self, name: str) -> Tree:
        """Ask the guest to shut down and wait, as long as its recipe allows. It stays off."""
        within = float(self._must_know(name)["stop_within"])
        self._keeper.let_go(name)
        deadline = time.monotonic() + within
        with self._ending(name) as ended:
            while (left := deadline - time.monotonic()) > 0:
                if not await self._link.do(
                    lambda connection: calls.press_power_button(connection, name), CHANGE_S
                ):
                    return {"name": name, "state": "off"}
                done, _ = await asyncio.wait((ended,), timeout=min(left, PRESS_AGAIN_S))
                if done:
                    ended.result()
                    return {"name": name, "state": "off"}
        self._wanted(name)
        raise VmError(
            "failed",
            f"{name} has not shut down within {within:g} s and still runs; `branchline vm kill {name}` "
            "ends it as pulling its plug would",
        )

    async def kill(self, name: str) -> Tree:
        """End a machine as pulling its plug would. It stays off."""
        self._must_know(name)
        self._keeper.let_go(name)
        with self._ending(name) as ended:
            if await self._link.do(lambda connection: calls.force_off(connection, name), CHANGE_S):
                await asyncio.wait((ended,), timeout=FORCED_OFF_S)
        return {"name": name, "state": "off"}

    async def restart(self, name: str) -> Tree:
        """Stop it orderly, then start it."""
        await self.stop(name)
        return await self.start(name)

    async def delete(self, name: str, *, disks: bool) -> Tree:
        """Forget a machine that is off, and its `disks` if they are to go as well."""
        self._must_know(name)
        if await self._state(name) != "off":
            raise VmError("refused", f"{name} runs; `branchline vm stop {name}` first")
        self._keeper.let_go(name)
        await self._link.do(lambda connection: calls.undefine(connection, name), CHANGE_S)
        del self._known[name]
        kept = str(self._storage.of(name))
        if disks:
            await asyncio.to_thread(self._storage.remove, name)
            kept = ""
        what = f"its disks are kept in {kept}" if kept else "and its disks"
        self._tell("vm.deleted", "info", f"{name} has been deleted, {what}", {"vm": name, "kept": kept})
        return {"name": name, "kept": kept}

    async def console(self, name: str) -> Tree:
        """The device of its serial console."""
        self._must_know(name)
        device = await self._link.do(lambda connection: calls.console(connection, name))
        if device is None:
            raise VmError("refused", f"{name} is off; `branchline vm start {name}` first")
        return {"name": name, "device": device}

    async def statistics(self, name: str) -> Tree:
        """libvirt's counters."""
        self._must_know(name)
        return await self._link.do(lambda connection: calls.statistics(connection, name))

    def _must_know(self, name: str) -> Tree:
        if self._link.trouble:
            raise VmError("unavailable", self._link.trouble)
        if not is_name(name) or name not in self._known:
            known = ", ".join(sorted(self._known)) or "none"
            raise VmError("not_found", f'there is no machine "{name}"; the machines are: {known}')
        return self._known[name]

    async def _state(self, name: str) -> str:
        found = await self._link.do(calls.survey)
        return next((one.state for one in found if one.name == name), "off")

    # What happens.

    def _up(self) -> None:
        self._tell("libvirt.up", "info", "libvirt answers", {})
        self._returned.set()

    def _down(self, trouble: str) -> None:
        self._tell("libvirt.down", "error", f"{trouble}; machines that run go on running", {})
        for waiting in self._stopping.values():
            for ended in waiting:
                if not ended.done():
                    ended.set_exception(VmError("unavailable", trouble))
        self._stopping.clear()

    async def _take_stock(self) -> None:
        """After libvirtd has come back, or this process: what runs, what should, and what a crash left half made."""
        while True:
            await self._returned.wait()
            self._returned.clear()
            try:
                found = await self._link.do(calls.survey)
            except VmError:
                continue  # gone again
            names = {one.name for one in found}
            for name in await asyncio.to_thread(self._storage.sweep, names, set(self._making)):
                self._tell("vm.swept", "warning", f"{name} was half made when branchline ended; deleted", {})
            for name in self._known.keys() - names:
                self._keeper.let_go(name)
            before, self._known = (
                self._known,
                {
                    one.name: {"stop_within": one.recipe.get("stop_within", 90), "autostart": one.autostart}
                    for one in found
                },
            )
            for one in found:
                if one.state != "off":
                    self._wanted(one.name)
                elif self._keeper.wants(one.name) or (
                    one.autostart and one.name not in before and not one.told_to_end
                ):
                    self._keeper.want(one.name)
                    self._crashed(one.name, "is not running")

    def _heard(self, name: str, event: int, detail: int) -> None:
        if name not in self._known:
            return
        if event == calls.STARTED:
            self._wanted(name)
            self._tell("vm.started", "info", f"{name} runs", {"vm": name})
        if event != calls.STOPPED:
            return
        for ended in self._stopping.pop(name, set()):
            if not ended.done():
                ended.set_result(None)
        if detail in (calls.ENDED_CRASHED, calls.ENDED_FAILED):
            self._crashed(name, "has ended without having been told to")
            return
        self._keeper.let_go(name)
        how = {calls.ENDED_ORDERLY: "has shut down", calls.ENDED_BY_FORCE: "has been forced off"}
        self._tell("vm.stopped", "info", f"{name} {how.get(detail, 'has been stopped')}", {"vm": name})

    def _crashed(self, name: str, what: str) -> None:
        wait = self._keeper.ended(name, time.monotonic())
        then = (
            f"`branchline vm start {name}` starts it"
            if wait is None
            else f"it is started again in {wait:g} s"
        )
        evidence = {"vm": name, "log": f"/var/log/libvirt/qemu/{name}.log", "again_in_s": wait}
        self._tell("vm.crashed", "error", f"{name} {what}; {then}", evidence)
        self._stirred.set()

    async def _restart(self) -> None:
        while True:
            left = self._keeper.next_due() - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left) if left < 1e9 else None):
                    await self._stirred.wait()
            self._stirred.clear()
            for name in self._keeper.due(time.monotonic()):
                try:
                    await self._link.do(lambda connection, name=name: calls.start(connection, name), CHANGE_S)  # type: ignore[misc]
                except VmError as error:
                    wait = self._keeper.ended(name, time.monotonic())
                    text = f"{name} cannot be started: {error}; tried again in {wait:g} s"
                    self._tell("vm.start_failed", "error", text, {"vm": name, "again_in_s": wait})

    def _wanted(self, name: str) -> None:
        """It runs, or is about to: kept so if it is marked `autostart`."""
        if self._known[name]["autostart"]:
            self._keeper.want(name)
            self._keeper.runs(name, time.monotonic())

    @contextlib.contextmanager
    def _ending(self, name: str) -> Iterator[asyncio.Future[None]]:
        """What is done when the machine ends; VmError in it if libvirtd is gone before that."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping.setdefault(name, set()).add(ended)
        try:
            yield ended
        finally:
            self._stopping.get(name, set()).discard(ended)


def _name(machine: Tree) -> str:
    return str(machine["name"])


def _fits(recipe: Recipe) -> None:
    """VmError if the box is too small for it, or has no such bridge."""
    cpus, left = os.cpu_count() or 1, memory_left() - MEMORY_RESERVE
    if recipe.vcpus > cpus:
        raise VmError("refused", f"vcpus: this box has {cpus}; use at most so many")
    if recipe.memory > left:
        raise VmError(
            "refused",
            f"memory: this box has {show_size(max(0, left))} to spare; use less, or stop another machine",
        )
    for at, network in enumerate(recipe.networks):
        if not Path("/sys/class/net", network.bridge, "bridge").is_dir():
            raise VmError(
                "refused",
                f"networks[{at}].bridge: there is no bridge {network.bridge}; "
                "`ip link show type bridge` lists those there are",
            )
