"""Backups are sent to another site, as a machine of the LAN would: so Branchline carries them like any flow.

What a box itself sends is not intercepted. So rsync runs in a network namespace with a card of its own in the bridge
that the guests use. It speaks to an rsync daemon, whose protocol is in clear: what is encrypted has no repeats to
remove. Between two Branchlines all of it is encrypted anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from vmhost.backup.manifest import FILE
from vmhost.errors import VmError
from vmhost.processes import launch

_NAMESPACE, _CARD = "bl-backup", "bl-backup"
_SILENT_S = 120
_RSYNC = ("rsync", "--recursive", "--times", "--perms", "--exclude=*.part", f"--timeout={_SILENT_S}")


@dataclass(frozen=True)
class Post:
    """Where backups are sent, and from which free address of the LAN ("10.1.0.250/24"), by which gateway."""

    url: str
    bridge: str
    address: str
    gateway: str


class Sending:
    """One at a time: they share an address."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def send(self, directory: Path, post: Post) -> None:
        """Have all backups in `directory` at the other end, too; VmError if that fails.

        A backup is there when its manifest is, which comes last. Nothing is deleted there.
        """
        async with self._lock, _plugged_in(post):
            where = f"{post.url.rstrip('/')}/{directory.name}/"
            inside = ("nsenter", f"--net=/run/netns/{_NAMESPACE}", "nice", "-n", "10")
            for which in ((f"--exclude={FILE}",), ()):
                await _do(*inside, *_RSYNC, *which, "--mkpath", "--", f"{directory}/", where)


@contextlib.asynccontextmanager
async def _plugged_in(post: Post) -> AsyncIterator[None]:
    """The namespace is there, with its card."""
    await _unplug()  # what a process that was killed has left
    await _do("ip", "netns", "add", _NAMESPACE)
    inside = ("ip", "-netns", _NAMESPACE)
    try:
        await _do("ip", "link", "add", _CARD, "type", "veth", "peer", "name", "eth0", "netns", _NAMESPACE)
        await _do("ip", "link", "set", _CARD, "master", post.bridge, "up")
        await _do(*inside, "address", "add", post.address, "dev", "eth0", "nodad")
        await _do(*inside, "link", "set", "eth0", "up")
        await _do(*inside, "route", "add", "default", "via", post.gateway)
        yield
    finally:
        await _unplug()


async def _unplug() -> None:
    # The card by itself: it goes with the namespace, but some time later.
    for command in (("ip", "link", "delete", _CARD), ("ip", "netns", "delete", _NAMESPACE)):
        with contextlib.suppress(VmError):  # it is not there
            await _do(*command)


async def _do(*command: str) -> None:
    process = await launch(
        *("setpriv", "--pdeathsig", "KILL", *command),
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        _, wrong = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = wrong.decode(errors="replace").strip() or f"{' '.join(command)} failed"
        raise VmError("failed", text.splitlines()[0])
