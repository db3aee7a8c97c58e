"""Which machines were told to stay off since the box was booted. This outlives us and libvirtd, which forgets."""

from __future__ import annotations

import contextlib
from pathlib import Path

_FILE = ".off"  # in the directory of the machine, with the boot in which it was written


class Wishes:
    """About the machines whose disks are below `directory`. `boot` is the kernel's name of the present boot."""

    def __init__(self, directory: Path, boot: str | None = None) -> None:
        self._directory = directory
        self._boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def off(self, name: str) -> None:
        """It is to stay off."""
        with contextlib.suppress(FileNotFoundError):  # its disks are gone
            (self._directory / name / _FILE).write_text(self._boot)

    def on(self, name: str) -> None:
        """It runs: nobody wants it off any more."""
        (self._directory / name / _FILE).unlink(missing_ok=True)

    def is_off(self, name: str) -> bool:
        """Whether it is to stay off. After a boot nothing is, nor what cannot be read."""
        try:
            return (self._directory / name / _FILE).read_text() == self._boot
        except OSError:
            return False
