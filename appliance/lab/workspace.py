"""A private temporary directory that is removed also when its maker was killed: by the next one's maker.

Whoever uses a directory holds a lock on it; one that nobody has locked is a leftover. (Pids would not do: labs
in user namespaces share /tmp, but not their pids.)
"""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

PREFIX = "branchline-lab-"
LONGEST_PLACE = 48  # a socket's path has room for little more than a hundred bytes


def place() -> Path:
    """The directory for temporary files, unless its name is too long for sockets below it."""
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST_PLACE else "/tmp")


class Workspace:
    """A new directory, mode 0700, for this process alone."""

    def __init__(self, where: Path | None = None) -> None:
        where = where or place()
        _reclaim(where)
        # Nobody takes it for a leftover before it is locked: until then its name is another.
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=where))
        lock = _lock(made)
        assert lock is not None
        self._lock = lock
        self.path = made.rename(where / made.name[1:])

    def close(self) -> None:
        """Remove it and all in it; safe to call twice."""
        if self._lock >= 0:
            shutil.rmtree(self.path)
            os.close(self._lock)
            self._lock = -1


def _lock(directory: Path) -> int | None:
    """A descriptor that holds the lock, None when another process does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _reclaim(where: Path) -> None:
    for found in where.glob(f"{PREFIX}*"):
        try:
            facts = found.lstat()
            if facts.st_uid != os.geteuid() or not stat.S_ISDIR(facts.st_mode):
                continue
            lock = _lock(found)
        except FileNotFoundError:
            continue  # another process has just taken it back
        if lock is not None:
            shutil.rmtree(found, ignore_errors=True)
            os.close(lock)
