"""Files that are on the disk when it is said so: of this package and of the router's, which imports it from here."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int = 0o640) -> None:
    """Write a file that is there as before or wholly new, also after a power cut. OSError as it comes."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # of a crash, or laid there by somebody who would read what is written
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)  # on a full disk it would take the room of what is tried next
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's bytes, or a directory's names, on the disk. OSError as it comes."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
