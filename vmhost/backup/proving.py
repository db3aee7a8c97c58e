"""A backup is proved: its bytes are what they were, and a twin that boots from it shows signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from vmhost import calls, images
from vmhost.abilities import Abilities, memory_left
from vmhost.backup import job
from vmhost.backup.isolated import isolated
from vmhost.backup.manifest import Manifest, Proof
from vmhost.backup.shelf import Shelf, read, wrong
from vmhost.domain import TYPES
from vmhost.errors import VmError
from vmhost.leftovers import PROOF
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, Tree
from vmhost.recipe import from_dict
from vmhost.values import show_size

SIGN = "login:"
"""What the console of a guest without an agent says when it is up."""
WITHIN_S = 900.0
_LOOK_S = 1.0
_HEARD = 65536  # bytes of the console that are looked through


class Proving:
    """Of backups, on the libvirtd of `machines`."""

    def __init__(self, machines: Machines, abilities: Abilities) -> None:
        self._machines = machines
        self._abilities = abilities
        self._proving: set[str] = set()

    async def check(self, path: Path, manifest: Manifest) -> str:
        """What is wrong with the files of a backup; empty if nothing is."""
        try:
            if problem := await asyncio.to_thread(wrong, path, manifest, lambda _: None):
                return problem
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        for disk in manifest.disks.values():
            if trouble := await images.damage(path / disk.file):
                return f"{disk.file} is damaged: {trouble}"
        return ""

    async def verify(self, shelf: Shelf, name: str, stamp: str, boot: str | None) -> Tree:
        """Check the files, and boot from them if there is a `boot`: a text of the console that is a sign of life."""
        path = shelf.of(name, stamp)
        manifest = await asyncio.to_thread(read, path)
        problem = await self.check(path, manifest)
        good, how = not problem, problem or "all bytes are what they were"
        if good and boot is not None:
            good, how = await self._boots(path, manifest, boot)
        if boot is not None or not good:  # bytes that are as they were prove nothing yet
            await asyncio.to_thread(shelf.add_proof, name, stamp, Proof(time.time(), good, how))
        evidence = {"vm": name, "backup": stamp, "path": str(path), "good": good, "how": how}
        if not good:
            self._machines.tell(
                "vm.backup_bad", "error", f"the backup {path} of {name} is no good: {how}", evidence
            )
            raise VmError("failed", f"{path} is no good: {how}; take another backup")
        kind = "vm.backup_checked" if boot is None else "vm.backup_proved"
        self._machines.tell(kind, "info", f"the backup {path} of {name} is good: {how}", evidence)
        return evidence

    async def _boots(self, path: Path, manifest: Manifest, sign: str) -> tuple[bool, str]:
        """Whether its twin does, and what was seen. VmError if that cannot be tried here."""
        recipe = from_dict(manifest.recipe, str(path))
        ability = await self._abilities.guest(recipe.arch)
        if ability.accelerator is None:
            raise VmError("refused", f"it cannot be booted here: {ability.why}")
        if recipe.memory > memory_left():
            raise VmError("refused", f"it needs {show_size(recipe.memory)} of memory; stop another machine")
        twin = f"{manifest.name}{PROOF}"
        if twin in self._proving:
            raise VmError("refused", f"a backup of {manifest.name} is being proved already")
        self._proving.add(twin)
        try:
            work = await asyncio.to_thread(_empty, self._machines.storage.of(twin))
            disks = await _overlays(work, path, manifest)
            boot = {tag: path / copied.file for tag, copied in manifest.boot.items()}
            kind, variables = TYPES[ability.accelerator], work / "variables"
            xml = isolated(manifest.xml, twin, disks, boot, kind, variables)
            return await self._watched(twin, xml, sign)
        finally:
            self._proving.discard(twin)
            await asyncio.to_thread(self._tidy, twin, path, manifest)

    async def _watched(self, twin: str, xml: str, sign: str) -> tuple[bool, str]:
        link, began = self._machines.link, time.monotonic()
        await link.do(lambda connection: job.start_twin(connection, xml), CHANGE_S)
        try:
            device = await link.do(lambda connection: calls.console(connection, twin))
            with _listening(device or os.devnull) as heard:
                await link.do(lambda connection: job.resume(connection, twin))
                while time.monotonic() - began < WITHIN_S:
                    if sign.encode() in heard:
                        return True, f'its console said "{sign}" after {time.monotonic() - began:.0f} s'
                    if answer := await link.do(lambda connection: job.agent_says(connection, twin)):
                        return True, f"its agent answered after {time.monotonic() - began:.0f} s: {answer}"
                    await asyncio.sleep(_LOOK_S)
            last = bytes(heard[-200:]).decode(errors="replace").strip()
            return False, f"no sign of life within {WITHIN_S:g} s; its console said at last {last!r}"
        except (VmError, OSError) as error:  # its console goes with it
            return False, f"it ended: {error}"
        finally:
            with contextlib.suppress(VmError):  # it has ended
                await link.do(lambda connection: calls.force_off(connection, twin), CHANGE_S)

    def _tidy(self, twin: str, path: Path, manifest: Manifest) -> None:
        shutil.rmtree(self._machines.storage.of(twin), ignore_errors=True)
        for lent in manifest.files:  # by libvirt, to QEMU's user
            with contextlib.suppress(OSError):
                os.chown(path / lent.file, 0, 0)


def _empty(directory: Path) -> Path:
    """That directory, new."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o711)
    return directory


async def _overlays(work: Path, path: Path, manifest: Manifest) -> Mapping[str, Path]:
    """What the twin writes goes beside the backup, which stays as it is."""
    made = {}
    for disk, copied in manifest.disks.items():
        made[disk] = work / copied.file
        await images.overlay(made[disk], path / copied.file)
    return made


@contextlib.contextmanager
def _listening(device: str) -> Iterator[bytearray]:
    """What the last of a console said, as it comes."""
    heard, loop = bytearray(), asyncio.get_running_loop()
    console = os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)

    def read_on() -> None:
        try:
            heard.extend(os.read(console, 4096))
        except BlockingIOError:
            return
        except OSError:  # the guest has ended
            loop.remove_reader(console)
        del heard[:-_HEARD]

    loop.add_reader(console, read_on)
    try:
        yield heard
    finally:
        loop.remove_reader(console)
        os.close(console)
