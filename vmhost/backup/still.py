"""Disks that nobody writes to: while they are copied QEMU does not start with them, whoever starts it.

QEMU locks an image by bytes of its file (docs/system/images, "Disk image file locking"; block/file-posix.c): who holds
byte 200 + n denies others the permission n, who holds 100 + n has it. Permission 1 is writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmhost.errors import VmError

_WRITES, _NO_WRITERS = 100 + 1, 200 + 1
_FLOCK = "hhqqi4x"


@contextlib.contextmanager
def held_still(disks: Sequence[Path]) -> Iterator[None]:
    """As long as this lasts nobody begins to write to `disks`. VmError if somebody does already."""
    with contextlib.ExitStack() as stack:
        for disk in disks:
            file = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, file)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, _NO_WRITERS))
            kind, *_ = struct.unpack(
                _FLOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, _WRITES))
            )
            if kind != fcntl.F_UNLCK:
                raise VmError("refused", f"{disk} is being written to by another program")
        yield


def _lock(kind: int, byte: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
