"""A disk for a box's chunk cache that fails, crawls or hangs when a test says so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest

SERVER = Path(__file__).with_name("bad_disk_server.py")
DEBIAN_PYTHON = "/usr/bin/python3"  # has python3-fusepy
READY_S = 30.0


class BadDisk:
    """Mounted at `place` while the block lasts; what was there is on it, and was moved to a directory beside."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._store = place.with_name(place.name + ".store")
        self._trouble = place.with_name(place.name + ".trouble")
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("needs /dev/fuse")
        self.place.rename(self._store)
        self.place.mkdir(mode=0o700)
        self.heal()
        argv = [DEBIAN_PYTHON, str(SERVER), str(self._store), str(self.place), str(self._trouble)]
        self._server = subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + READY_S
        while not os.path.ismount(self.place):
            if self._server.poll() is not None or time.monotonic() > deadline:
                self._server.kill()
                pytest.fail(f"the bad disk cannot be mounted: {self._server.communicate()[1].decode()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)
        subprocess.run(["umount", "--lazy", str(self.place)], check=False, stderr=subprocess.DEVNULL)
        self._server.kill()
        self._server.communicate()

    def trouble(self, **what: float) -> None:
        """write, fsync, read, create: error numbers; write_s, fsync_s: seconds that each takes."""
        fresh = self._trouble.with_name(self._trouble.name + ".new")
        fresh.write_text(json.dumps(what))
        fresh.replace(self._trouble)

    def heal(self) -> None:
        self.trouble()

    def hang(self) -> None:
        """Nothing is answered any more until `answer`."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def answer(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def cut(self) -> None:
        """The power fails: of what was not synced, any subset of pages is lost. Nobody has a file open."""
        with contextlib.suppress(OSError):  # it is done, and no directory is there
            (self.place / "CUT").mkdir()

    def forget_pages(self) -> None:
        """What the kernel has of the files in memory has to be read from the disk again."""
        for path in self.place.glob("*/*/*.ring"):
            os.close(os.open(path, os.O_RDONLY))  # the server grants no keeping of pages over an opening
