"""An initrd: a cpio archive ("newc", the kernel's Documentation/driver-api/early-userspace/buffer-format), packed."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import PurePosixPath

_DIRECTORY, _FILE = 0o40755, 0o100755
_END = "TRAILER!!!"


def initrd(files: Mapping[str, bytes]) -> bytes:
    """Of files by path, all executable, and the directories they are in. Equal files make equal archives."""
    directories = {
        str(parent) for path in files for parent in PurePosixPath(path).parents if str(parent) != "."
    }
    members = [(path, _DIRECTORY, b"") for path in directories]
    members += [(path, _FILE, content) for path, content in files.items()]
    archive = b"".join(
        _member(number, path, mode, content)
        for number, (path, mode, content) in enumerate(sorted(members), start=1)
    )
    return gzip.compress(archive + _member(0, _END, 0, b""), compresslevel=6, mtime=0)


def _member(number: int, path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if mode == _DIRECTORY else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
