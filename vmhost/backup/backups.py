"""The backups of all machines: what people ask about them, and what is taken by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from vmhost import calls
from vmhost.abilities import Abilities
from vmhost.backup.manifest import Manifest, is_stamp
from vmhost.backup.proving import SIGN, Proving
from vmhost.backup.remaking import Given
from vmhost.backup.restoring import Restoring
from vmhost.backup.retention import Kept, due, surplus
from vmhost.backup.sending import Post, Sending
from vmhost.backup.shelf import Shelf, read
from vmhost.backup.taking import Taking
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.directory.planning import is_joining
from vmhost.errors import VmError
from vmhost.machines import Machines, Tree
from vmhost.recipe import from_dict, place_problem
from vmhost.running import Running
from vmhost.values import is_name

DIRECTORY = "vm-backups"  # beside that of the machines
LOOK_S = 60.0


class Backups:
    """Of `machines`; `running` says when libvirtd has come back."""

    def __init__(
        self,
        machines: Machines,
        running: Running,
        creation: Creation,
        abilities: Abilities,
        directories: Directories,
    ) -> None:
        self._machines = machines
        self._taking = Taking(machines)
        self._proving = Proving(machines, abilities)
        self._restoring = Restoring(machines, creation, self._proving, directories)
        self._sending = Sending()
        self._stirred = asyncio.Event()
        self._failed: dict[str, float] = {}  # when a backup was tried in vain
        running.on_stock.append(self._stirred.set)

    async def run(self) -> None:
        """Go on with what a crash cut off, and take what is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._stirred.wait()
                if self._stirred.is_set():
                    self._stirred.clear()
                    for name, to, rest in await self._taking.go_on():
                        tasks.create_task(self._go_on(name, to, rest))
                    for place in await self._places(""):
                        with contextlib.suppress(OSError):  # taking a backup there will say it
                            await self._sweep(Shelf(place))
                with contextlib.suppress(VmError):  # libvirtd is gone, which is an event
                    await self._restoring.go_on()
                    for name, to, keep in await self._due(time.time()):
                        tasks.create_task(self._take_by_itself(name, to, keep))

    async def _sweep(self, shelf: Shelf) -> None:
        """Delete what a crash left of backups that nobody goes on with."""
        for name in await asyncio.to_thread(shelf.names):
            with contextlib.suppress(VmError), self._machines.holding(name, "looked through"):
                for part in await asyncio.to_thread(shelf.sweep, name):
                    text = f"{part} was half a backup when branchline ended; it is deleted"
                    self._machines.tell("vm.swept", "warning", text, {"vm": name, "path": str(part)})

    async def take(self, name: str, to: str) -> Tree:
        """A backup of a machine, in the directory `to`, or where its recipe says if that is empty."""
        answer = await self._taking.take(name, await self._place(name, to))
        if not to:
            await self._send(name, Path(answer["path"]).parent)
        return answer

    async def cancel(self, name: str) -> Tree:
        """Give a backup up that is under way."""
        return await self._taking.cancel(name)

    async def listed(self, name: str, to: str) -> list[Tree]:
        """All backups of a machine, or of all if `name` is empty; also those in the directory `to`."""
        _check(name, to)
        found = []
        for place in await self._places(to):
            shelf = Shelf(place)
            for one in [name] if name else await asyncio.to_thread(shelf.names):
                found += await asyncio.to_thread(_listed, shelf, one)
        return found

    async def verify(self, name: str, backup: str, to: str, *, boot: bool, sign: str) -> Tree:
        """Check the files of a backup, and `boot` a twin from it that says `sign` when it is up."""
        path = await self._find(name, backup, to)
        return await self._proving.verify(
            Shelf(path.parents[1]), path.parent.name, path.name, (sign or SIGN) if boot else None
        )

    async def restore(self, name: str, backup: str, to: str, new_name: str | None, given: Given) -> Tree:
        """Make the machine as it was in a backup; it is called `new_name` if there is one.

        A directory is made again, with what is `given`.
        """
        path = await self._find(name, backup, to)
        return await self._restoring.restore(path, await asyncio.to_thread(read, path), new_name, given)

    async def _find(self, name: str, backup: str, to: str) -> Path:
        """The directory of a backup, by its stamp, by its path, or "latest"."""
        _check(name, to)
        if "/" in backup:
            if problem := place_problem(backup):
                raise VmError("refused", f"{problem[0]}; {problem[1]}")
            path = Path(backup)
            if not is_stamp(path.name) or (await asyncio.to_thread(read, path)).name != name:
                raise VmError("not_found", f"{path} is no backup of {name}")
            return path
        found = [one for one in await self.listed(name, to) if backup in ("latest", one["backup"])]
        if not found:
            raise VmError(
                "not_found", f"there is no backup {backup!r} of {name!r}; `branchline vm backups` lists them"
            )
        return Path(max(found, key=lambda one: str(one["backup"]))["path"])

    async def _send(self, name: str, directory: Path) -> None:
        """To the other site, if its recipe names one; VmError and an event if that fails."""
        found = {one.name: one.recipe for one in await self._machines.link.do(calls.survey)}
        recipe = from_dict(found[name], name) if name in found else None
        if recipe is None or recipe.backup is None or not recipe.backup.send:
            return
        plan, evidence = recipe.backup, {"vm": name, "to": recipe.backup.send}
        post = Post(plan.send, str(recipe.networks[0].bridge), plan.send_from, plan.send_by)
        try:
            await self._sending.send(directory, post)
        except VmError as error:
            text = f"the backups of {name} are not at {plan.send}: {error}; tried again after the next backup"
            self._machines.tell("vm.backup_unsent", "error", text, evidence)
            raise VmError("failed", text) from None
        self._machines.tell("vm.backup_sent", "info", f"the backups of {name} are at {plan.send}", evidence)

    async def _place(self, name: str, to: str) -> Path:
        _check(name, to)
        if not to:
            recipes = {one.name: one.recipe for one in await self._machines.link.do(calls.survey)}
            to = (recipes.get(name, {}).get("backup") or {}).get("to", "")
        return Path(to) if to else self._own

    async def _places(self, to: str) -> list[Path]:
        """All directories where there may be backups."""
        found = [self._own]
        with contextlib.suppress(VmError):  # they can be looked at while libvirtd is gone
            for one in await self._machines.link.do(calls.survey):
                recipe = self._machines.recipe(one)
                if recipe is not None and recipe.backup is not None and recipe.backup.to:
                    found.append(Path(recipe.backup.to))
        return list(dict.fromkeys([Path(to), *found] if to else found))

    @property
    def _own(self) -> Path:
        return self._machines.storage.directory.with_name(DIRECTORY)

    async def _due(self, now: float) -> list[tuple[str, Path, int]]:
        """The machines that are to be backed up now, where to, and how many are kept."""
        found = []
        for one in await self._machines.link.do(calls.survey):
            recipe = self._machines.recipe(one)
            plan = None if recipe is None else recipe.backup
            if plan is None or self._machines.doing(one.name) or is_joining(one.recipe):
                continue
            place = Path(plan.to) if plan.to else self._own
            taken: list[float] = []
            with contextlib.suppress(OSError):  # taking one there will say it
                taken = await asyncio.to_thread(_taken, Shelf(place), one.name)
            if due(plan.every, max(taken, default=None), self._failed.get(one.name)) <= now:
                found.append((one.name, place, plan.keep))
        return found

    async def _take_by_itself(self, name: str, to: Path, keep: int) -> None:
        try:
            await self._taking.take(name, to)
        except VmError:  # it is an event
            self._failed[name] = time.time()
            return
        self._failed.pop(name, None)
        await self._put_away(name, to, keep)

    async def _go_on(self, name: str, to: Path, rest: asyncio.Task[Tree]) -> None:
        """What a crash cut off is put away like every other."""
        await asyncio.wait((rest,))
        if rest.cancelled() or rest.exception() is not None:
            return  # it is an event
        with contextlib.suppress(VmError):  # libvirtd is gone: it is sent after the next
            found = {
                one.name: self._machines.recipe(one) for one in await self._machines.link.do(calls.survey)
            }
            recipe = found.get(name)
            plan = None if recipe is None else recipe.backup
            if plan is not None and to == (Path(plan.to) if plan.to else self._own):
                await self._put_away(name, to, plan.keep)

    async def _put_away(self, name: str, to: Path, keep: int) -> None:
        """What is too old goes, and the rest to the other site."""
        try:
            gone = await asyncio.to_thread(_let_go, Shelf(to), name, keep)
        except OSError as error:
            text = f"old backups of {name} cannot be deleted: {error.filename}: {error.strerror}"
            self._machines.tell("vm.backup_failed", "error", text, {"vm": name})
            return
        for stamp in gone:
            text = f"the backup {stamp} of {name} is deleted: {keep} newer ones are kept"
            self._machines.tell("vm.backup_deleted", "info", text, {"vm": name, "backup": stamp})
        with contextlib.suppress(VmError):  # it is an event
            await self._send(name, to / name)


def _check(name: str, to: str) -> None:
    """VmError unless a machine may be called so, and there may be backups in that place; each may be empty."""
    if name and not is_name(name):
        raise VmError(
            "refused", f"{name!r} cannot be the name of a machine; `branchline vm list` has those there are"
        )
    if problem := place_problem(to):
        raise VmError("refused", f"{problem[0]}; {problem[1]}")


def _listed(shelf: Shelf, name: str) -> list[Tree]:
    return [_shown(shelf.of(name, stamp)) for stamp in shelf.stamps(name)]


def _manifest(path: Path) -> Manifest | None:
    """None if it cannot be read: such a backup is no good, and must not hide the others."""
    try:
        return read(path)
    except VmError:
        return None


def _shown(path: Path) -> Tree:
    manifest = _manifest(path)
    if manifest is None:
        one = {"vm": path.parent.name, "backup": path.name, "taken": None, "path": str(path), "size": None}
        return {**one, "consistency": "", "proved": False, "how": "its manifest cannot be read"}
    last = manifest.proofs[-1] if manifest.proofs else None
    return {
        "vm": manifest.name,
        "backup": path.name,
        "taken": manifest.taken,
        "path": str(path),
        "consistency": manifest.consistency,
        "size": sum(file.size for file in manifest.files),
        "proved": None if last is None else last.good,
        "how": "" if last is None else last.how,
    }


def _taken(shelf: Shelf, name: str) -> list[float]:
    found = (_manifest(shelf.of(name, stamp)) for stamp in shelf.stamps(name))
    return [manifest.taken for manifest in found if manifest is not None]


def _let_go(shelf: Shelf, name: str, keep: int) -> list[str]:
    """Delete the backups that are too many."""
    kept = []
    for stamp in shelf.stamps(name):
        kept.append(Kept(stamp, _shown(shelf.of(name, stamp))["proved"]))
    old = surplus(kept, keep)
    for stamp in old:
        shelf.drop(name, stamp)
    return old
