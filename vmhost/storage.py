"""Where the disks of virtual machines are: a directory for each, made wholly or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from vmhost import images
from vmhost.abilities import disk_left
from vmhost.domain import disk_file
from vmhost.errors import VmError
from vmhost.recipe import Recipe
from vmhost.values import show_size

_MARK = ".incomplete"


class Storage:
    """All machines' disks, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def directory(self) -> Path:
        """Of all of them."""
        return self._directory

    def of(self, name: str) -> Path:
        """The directory of one machine."""
        return self._directory / name

    async def check(self, recipe: Recipe) -> list[tuple[images.Image | None, int]]:
        """For each disk its image, if it has one, and its size in bytes. VmError if they cannot all be made."""
        if self.of(recipe.name).exists():
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
        needed, left = sum(size for _, size in found) + images.RESERVE, disk_left(self._directory)
        if needed > left:
            # All of it, though a new disk takes little: a guest that fills its disk must not fill the box's.
            raise VmError(
                "refused",
                f"the disks may grow to {show_size(needed - images.RESERVE)}, {self._directory} has "
                f"{show_size(left)} and {show_size(images.RESERVE)} of it are the router's; free space or ask for less",
            )
        return found

    async def make(
        self,
        recipe: Recipe,
        disks: list[tuple[images.Image | None, int]],
        progress: Callable[[float], None],
    ) -> Path:
        """Make the disks that `check` found good. They count for nothing until `complete`."""
        directory = self.of(recipe.name)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)  # QEMU's user finds its own file
        directory.mkdir(mode=0o711)
        (directory / _MARK).touch()
        whole = sum(image.virtual_size for image, _ in disks if image) or 1
        done = 0
        for disk, (image, size) in zip(recipe.disks, disks, strict=True):
            file = disk_file(directory, disk.name)
            if image is None:
                await images.new(file, size)
                continue
            before, share = done / whole, image.virtual_size / whole
            await images.copy(image, file, size, lambda part, a=before, b=share: progress(a + b * part))  # type: ignore[misc]
            done += image.virtual_size
        return directory

    def complete(self, name: str) -> None:
        """The machine is defined: its disks stay."""
        (self.of(name) / _MARK).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Delete the disks of a machine."""
        shutil.rmtree(self.of(name), ignore_errors=True)

    def sweep(self, defined: set[str], making: set[str]) -> list[str]:
        """Delete what a crash left of machines that were being made, and are not `defined`. Returns their names."""
        left = sorted({mark.parent.name for mark in self._directory.glob(f"*/{_MARK}")} - making)
        for name in left:
            if name in defined:
                self.complete(name)
            else:
                self.remove(name)
        return [name for name in left if name not in defined]
