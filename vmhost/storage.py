"""Where the disks of virtual machines are: a directory for each, made wholly, or gone on with after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from vmhost import durable, images
from vmhost.abilities import disk_left
from vmhost.directory import bundle, slots
from vmhost.directory.signing import BundleKey
from vmhost.domain import Boot, disk_file
from vmhost.errors import VmError
from vmhost.gave_way import NOTE
from vmhost.half_made import MARK, HalfMade, read
from vmhost.leftovers import GONE
from vmhost.recipe import Recipe, to_dict
from vmhost.values import show_size

_BEFORE = ".before-"
KEPT_S = 86400.0
"""So long the disks of a machine whose making was cut off wait for somebody who goes on with it."""


class Storage:
    """All machines' disks, in `directory`."""

    def __init__(self, directory: Path, trusted: Iterable[BundleKey]) -> None:
        self._directory = directory
        self.trusted = tuple(trusted)
        """Who may have signed the systems that machines boot."""

    @property
    def directory(self) -> Path:
        """Of all of them."""
        return self._directory

    def of(self, name: str) -> Path:
        """The directory of one machine."""
        return self._directory / name

    async def check(self, recipe: Recipe) -> list[tuple[images.Image | None, int]]:
        """For each disk its image, if it has one, and its size in bytes. VmError if they cannot all be made."""
        if self.of(recipe.name).exists() and not self.is_half_made(recipe.name):
            raise VmError(
                "refused",
                f"{self.of(recipe.name)} is there already, with the disks of an earlier {recipe.name}; "
                "move it away or delete it",
            )
        found: list[tuple[images.Image | None, int]] = []
        for at, disk in enumerate(recipe.disks):
            image = await images.look(Path(disk.image)) if disk.image else None
            size = disk.size or 0
            if image is not None:
                if disk.size is not None and disk.size < image.virtual_size:
                    raise VmError(
                        "refused",
                        f"disks[{at}].size: {show_size(disk.size)} is less than the "
                        f"{show_size(image.virtual_size)} of {image.path}; leave it out or make it larger",
                    )
                size = max(size, image.virtual_size)
            found.append((image, size))
        needed = sum(size for _, size in found) + images.RESERVE
        if recipe.bundle:
            needed += 2 * bundle.size(await asyncio.to_thread(self._manifest, recipe))  # and its next version
        left = await asyncio.to_thread(self._room_for, recipe.name)
        if needed > left:
            # All of it, though a new disk takes little: a guest that fills its disk must not fill the box's.
            raise VmError(
                "refused",
                f"the disks may grow to {show_size(needed - images.RESERVE)}, {self._directory} has "
                f"{show_size(left)} and {show_size(images.RESERVE)} of it are the router's; free space or ask for less",
            )
        return found

    def _room_for(self, name: str) -> int:
        """Bytes that a machine may take, those of an earlier try among them."""
        earlier = sum(file.stat().st_blocks * 512 for file in self.of(name).glob("*"))
        return disk_left(self._directory) + earlier

    async def make(
        self,
        recipe: Recipe,
        disks: list[tuple[images.Image | None, int]],
        progress: Callable[[float], None],
    ) -> Path:
        """Make the disks that `check` found good, or go on with them. They count for nothing until `complete`."""
        directory = self.of(recipe.name)
        half = await self._begun(recipe, disks)
        whole = sum(image.virtual_size for image, _ in disks if image)
        before = 0
        if recipe.bundle:
            manifest = await asyncio.to_thread(self._manifest, recipe)
            before = bundle.size(manifest)
            whole += before

            def taken(part: float, size: int = before) -> None:
                progress(part * size / whole)

            await asyncio.to_thread(self._take, recipe, manifest, directory, taken)
        for disk, (image, size) in zip(recipe.disks, disks, strict=True):
            file = disk_file(directory, disk.name)
            if image is None:
                await images.new(file, size)
                continue

            def told(done: int, before: int = before) -> None:
                progress((before + done) / whole)

            def copied(done: int, name: str = disk.name) -> None:
                half.copied[name] = done
                half.write(directory)

            begin = half.copied.get(disk.name, 0)
            if begin < image.virtual_size:
                await images.copy(image, file, size, told, begin=begin, copied=copied)
                copied(image.virtual_size)
            before += image.virtual_size
        return directory

    def _manifest(self, recipe: Recipe) -> bundle.Manifest:
        manifest = bundle.read(Path(recipe.bundle), self.trusted)
        if manifest.arch != recipe.arch:
            raise VmError(
                "refused", f"bundle: {recipe.bundle} is for {manifest.arch}, the machine is {recipe.arch}"
            )
        return manifest

    def _take(
        self, recipe: Recipe, manifest: bundle.Manifest, directory: Path, taken: Callable[[float], None]
    ) -> None:
        first = slots.Slots()
        target = slots.slot_directory(directory, first.active)
        shutil.rmtree(target, ignore_errors=True)  # of an earlier try
        bundle.take(Path(recipe.bundle), manifest, target, taken)
        slots.write(directory, first)

    def boot(self, name: str, slot: slots.Slot | None = None) -> Boot | None:
        """The system in that slot of a machine, or in the one that it boots; None if it has no slots."""
        directory = self.of(name)
        kept = slots.read(directory)
        if kept is None:
            return None
        place = slots.slot_directory(directory, slot or kept.booted)
        return Boot(place, bundle.taken(place).kernel_arguments)

    async def _begun(self, recipe: Recipe, disks: list[tuple[images.Image | None, int]]) -> HalfMade:
        """A directory in which the disks can be made, and how far they are."""
        directory = self.of(recipe.name)
        half = HalfMade(
            recipe=json.dumps(to_dict(recipe)),
            sources=[_identity(image.path) if image else (0, 0) for image, _ in disks],
            copied={},
        )
        earlier = read(directory)
        if earlier is not None and earlier.goes_on_with(half):
            files = [disk_file(directory, name) for name in earlier.copied]
            if all([await images.is_sound(file) for file in files]):
                return earlier
        await asyncio.to_thread(self.remove, recipe.name)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)  # QEMU's user finds its own file
        directory.mkdir(mode=0o711)
        half.write(directory)
        return half

    def complete(self, name: str) -> None:
        """The machine is defined: its disks stay."""
        (self.of(name) / MARK).unlink(missing_ok=True)

    def is_half_made(self, name: str) -> bool:
        """Whether a crash has cut the making of this machine off."""
        return (self.of(name) / MARK).exists()

    def doom(self, name: str) -> None:
        """The disks of a machine count for nothing any more, also after a crash, unless it stays `complete`."""
        with contextlib.suppress(OSError):  # lost already; or the disk is full, and deleting makes room
            HalfMade(recipe="", sources=[], copied={}).write(self.of(name))

    def remove(self, name: str) -> None:
        """Delete the disks of a machine. A crash leaves all of them under its name, or none. VmError if they stay."""
        doomed = self._directory / f"{name}{GONE}"
        shutil.rmtree(doomed, ignore_errors=True)
        try:
            self.of(name).rename(doomed)
            shutil.rmtree(doomed)
        except FileNotFoundError:
            return
        except OSError as error:
            raise VmError("failed", f"{error.filename} cannot be deleted: {error.strerror}") from None

    def half_made(self) -> list[str]:
        """The names of machines whose disks do not count yet."""
        return sorted(mark.parent.name for mark in self._directory.glob(f"*/{MARK}"))

    def set_aside(self, name: str) -> Path:
        """Keep the disks of a machine where they are in nobody's way; where that is."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self._directory / f"{name}{_BEFORE}{now}"  # no machine is called so
        self.of(name).rename(aside)
        durable.sync(self._directory)
        return aside

    def put_back(self, name: str, aside: Path) -> None:
        """What `set_aside` has kept, in the place of what was half made. VmError if something else is there."""
        place = self.of(name)
        if self.is_half_made(name):
            self.remove(name)
        elif place.exists():
            raise VmError("failed", f"{place} is there, with other disks; move it away")
        aside.rename(place)
        durable.sync(self._directory)

    def gave_way(self, name: str) -> Path | None:
        """Where the disks of a machine are that has given way to a backup and is one no more, nor the other yet."""
        return next((note.parent for note in self._directory.glob(f"{name}{_BEFORE}*/{NOTE}")), None)

    def all_gave_way(self) -> list[tuple[str, Path]]:
        """Machines of which a restore has not come to its end, and where their disks are: perhaps in their place."""
        found = sorted(note.parent for note in self._directory.glob(f"*/{NOTE}"))
        return [(place.name.partition(_BEFORE)[0], place) for place in found]

    def sweep(self, defined: set[str], making: set[str], now: float) -> list[str]:
        """Delete what a crash left of machines that nobody went on to make for a day. Returns their names.

        A machine that is `defined` was whole; those of `making` are left alone. `now`: seconds of the clock.
        """
        old = []
        for name in self.half_made():
            if name in defined:
                self.complete(name)
            elif name not in making:
                with contextlib.suppress(FileNotFoundError, VmError):  # deleted since, or tried again
                    if now - (self.of(name) / MARK).stat().st_mtime > KEPT_S:
                        self.remove(name)
                        old.append(name)
        return old


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
