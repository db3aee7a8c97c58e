"""What a process that was killed has left among the disks, and nobody goes on with."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from vmhost.values import is_name

GONE, PROOF = ".gone", ".proof"
"""End the names of directories of disks that are being deleted, and of twins of backups."""
_SCRAPS = (f"*{GONE}", f"*{PROOF}", "*/slot-?.half", "*/*.new", "*/.*.new")


def sweep(directory: Path) -> list[Path]:
    """Delete and return it, before any of that is under way again."""
    found = []
    for path in sorted(one for pattern in _SCRAPS for one in directory.glob(pattern)):
        with contextlib.suppress(OSError):  # what is in its way is said when it is in the way of something
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            found.append(path)
    for path in directory.glob("*"):
        if is_name(path.name):
            with contextlib.suppress(OSError):  # it holds disks, or what they need
                path.rmdir()
    return found
