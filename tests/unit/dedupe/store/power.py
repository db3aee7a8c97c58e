"""Files whose power can be cut: what was not synced is lost page by page, at random. See shadow.py."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from dedupe.store.files import File, Files
from tests.unit.dedupe.store.shadow import Shadow


class Cut(BaseException):
    """The machine stops here. Not an Exception: nothing in the program may handle it."""


class ShadowedFile(File):
    def __init__(self, descriptor: int, disk: ShadowedFiles, shadow: Shadow) -> None:
        super().__init__(descriptor)
        self._disk, self._shadow = disk, shadow

    def allocate(self, size: int) -> None:
        super().allocate(size)
        self._shadow.safe[size:] = b""
        self._shadow.safe.extend(bytes(size - len(self._shadow.safe)))

    def write(self, at: int, data: bytes | memoryview) -> None:
        self._disk.step()
        super().write(at, data)
        self._shadow.written(self.descriptor, at, len(data))
        self._disk.step()

    def sync(self) -> None:
        self._disk.step()
        super().sync()
        self._shadow.settle()

    def close(self) -> None:
        if self in self._disk.opened:
            self._disk.opened.remove(self)
            super().close()


class ShadowedFiles(Files):
    """fuse: operations until Cut; None never. failing: every write and sync is refused with this errno."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.opened: list[File] = []
        self.fuse: int | None = None
        self.failing: int | None = None
        self._shadows: dict[Path, Shadow] = {}

    def step(self) -> None:
        if self.failing is not None:
            raise OSError(self.failing, os.strerror(self.failing))
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Cut

    def open(self, path: Path) -> File:
        shadow = self._shadows.setdefault(
            path, Shadow(bytearray(path.read_bytes()) if path.exists() else bytearray())
        )
        plain = super().open(path)
        file = ShadowedFile(plain.descriptor, self, shadow)
        self.opened.append(file)
        return file

    def replace(self, path: Path, data: bytes) -> None:
        self.step()
        if self.fuse == 0 and self.chance.random() < 0.5:  # it was done, but nobody could be told
            super().replace(path, data)
            raise Cut
        super().replace(path, data)
        self._shadows[path] = Shadow(bytearray(data))
        self._shadows.pop(path.with_name(path.name + ".new"), None)
        self.step()

    def kill(self) -> None:
        """The process is gone; the kernel has everything."""
        for file in list(self.opened):
            file.close()
        self.fuse = self.failing = None

    def cut(self) -> None:
        """The power is gone."""
        self.kill()
        for path, shadow in self._shadows.items():
            if not path.exists():
                continue
            content = shadow.after_cut(self.chance)
            with path.open("r+b") as file:
                file.write(content)
                file.truncate(len(content))
        self._shadows.clear()


def full(files: ShadowedFiles) -> None:
    files.failing = errno.ENOSPC
