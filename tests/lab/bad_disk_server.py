"""A file system over a directory that can be made to fail: `bad_disk_server.py STORE MOUNT TROUBLE` (FUSE).

The file TROUBLE holds a JSON object, looked at for every request: "write", "fsync", "read", "create" are error numbers,
"write_s" and "fsync_s" are seconds that each takes. Runs with Debian's own interpreter, whose package python3-fusepy
is. To hang the disk, stop the process with SIGSTOP. To cut its power, when nobody has a file of it open, make the
directory CUT on it: that answers when of what was not synced only a random part is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import fusepy  # type: ignore[import-not-found]

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit/dedupe/store"))
from shadow import Shadow  # type: ignore[import-not-found]

CUT = "/CUT"

STAT = (
    "st_atime",
    "st_blocks",
    "st_ctime",
    "st_gid",
    "st_ino",
    "st_mode",
    "st_mtime",
    "st_nlink",
    "st_size",
    "st_uid",
)


class BadDisk(fusepy.Operations):  # type: ignore[misc]
    def __init__(self, store: str, trouble: str) -> None:
        self._store = store
        self._trouble = trouble
        self._shadows: dict[str, Shadow] = {}
        self._chance = random.Random(1)

    def _at(self, path: str) -> str:
        return self._store + path

    def _suffer(self, what: str) -> None:
        trouble: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), open(self._trouble) as file:
            trouble = json.load(file)
        time.sleep(trouble.get(what + "_s", 0))
        if trouble.get(what):
            raise fusepy.FuseOSError(trouble[what])

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._at(path))
        return {name: getattr(found, name) for name in STAT}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._at(path))]

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._store)
        return {
            name: getattr(found, name) for name in ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_frsize")
        }

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags & ~os.O_CREAT)

    def create(self, path: str, mode: int, fi: object = None) -> int:
        self._suffer("create")
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._suffer("read")
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._suffer("write")
        if path not in self._shadows:
            self._shadows[path] = Shadow(bytearray(Path(self._at(path)).read_bytes()))
        done = os.pwrite(fh, data, offset)
        self._shadows[path].written(fh, offset, done)
        return done

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._suffer("fsync")
        if path in self._shadows:
            self._shadows[path].settle()
        return 0

    fsyncdir = fsync

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        self._suffer("write")
        os.truncate(self._at(path), length)
        self._shadows.pop(path, None)  # nobody makes files shorter and goes on with what is left

    def flush(self, path: str, fh: int) -> None:
        raise fusepy.FuseOSError(38)  # ENOSYS: closing a file does not wait for a disk

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def mkdir(self, path: str, mode: int) -> None:
        if path == CUT:
            self._cut()
            return
        self._suffer("create")
        os.mkdir(self._at(path), mode)

    def _cut(self) -> None:
        for path, shadow in self._shadows.items():
            with contextlib.suppress(FileNotFoundError), open(self._at(path), "r+b") as file:
                content = shadow.after_cut(self._chance)
                file.write(content)
                file.truncate(len(content))
        self._shadows.clear()

    def rename(self, old: str, new: str) -> None:
        self._suffer("write")
        os.rename(self._at(old), self._at(new))
        self._shadows.pop(new, None)
        if old in self._shadows:
            self._shadows[new] = self._shadows.pop(old)

    def unlink(self, path: str) -> None:
        os.unlink(self._at(path))

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        os.utime(self._at(path), times)


if __name__ == "__main__":
    store, mount, trouble = sys.argv[1:]
    fusepy.FUSE(
        BadDisk(store, trouble), mount, foreground=True, nothreads=True, use_ino=True, big_writes=True
    )
