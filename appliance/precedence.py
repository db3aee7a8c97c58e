"""The data plane goes before everything else on the box: every packet of every flow waits for it."""

from __future__ import annotations

import contextlib
import os

NICE = -10


def go_first() -> None:
    """Raises this process above others, a virtual machine for one; without the right to, it stays as it is."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
