"""The domain of a directory server as Samba itself archives it, made in the guest by its agent.

From it, and only from it, the first domain controller of a domain is made again: `samba-tool domain backup restore`
gives the domain to a server of another name, which no other has seen in an old state.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from vmhost.backup import in_guest
from vmhost.errors import VmError
from vmhost.link import Link
from vmhost.printable import printable

FILE = "domain.tar.bz2"
MACHINE = "machine.json"
"""What the machine that is made again from it is told of itself: its realm, site and network."""
WITHIN_S = 1800.0  # emulated guests are slow
CLEAN_S = 60.0
LARGEST = 2**30
_LOOK_S = 1.0
_PLACE = "/data/domain-backup"  # in the guest, whose system disk is only read
MAKE = (
    f"set -e; umask 077; rm -rf {_PLACE}; mkdir {_PLACE}; "
    f"samba-tool domain backup offline --targetdir={_PLACE} >&2; ls {_PLACE}/*.tar.bz2"
)
_CLEAN = f"rm -rf {_PLACE}"
_SAY_MACHINE = "echo /data/branchline/joined"


async def fetch_all(link: Link, name: str, directory: Path) -> None:
    """The domain of the directory server `name`, and what it is told of itself, into `directory`; or neither.

    VmError or OSError if that fails.
    """
    try:
        await fetch(link, name, directory / MACHINE, _SAY_MACHINE, "true")
        await fetch(link, name, directory / FILE)
    except (VmError, OSError):
        for file in (MACHINE, FILE):
            (directory / file).unlink(missing_ok=True)
        raise


async def fetch(link: Link, name: str, file: Path, make: str = MAKE, clean: str = _CLEAN) -> None:
    """Have the guest `make` a file, whose path it says, and copy it to `file`; then it is to `clean` up.

    VmError, or OSError for `file`, if that fails.
    """
    try:
        # A guest that answers byte by byte would keep the backup from going on for ever.
        async with asyncio.timeout(WITHIN_S):
            status, path, wrong = await _run(link, name, make)
            if status != 0 or not path:
                said = printable(wrong.splitlines()[-1]) if wrong else f"exit status {status}"
                raise VmError("failed", said)
            await _copy(link, name, path, file)
    except TimeoutError:
        raise VmError("failed", f"it takes longer than {WITHIN_S:g} s") from None
    finally:
        with contextlib.suppress(VmError, TimeoutError):
            async with asyncio.timeout(CLEAN_S):
                await _run(link, name, clean)


async def _run(link: Link, name: str, script: str) -> tuple[int, str, str]:
    pid = await link.do(lambda connection: in_guest.begin(connection, name, "/bin/sh", "-c", script))
    while True:
        if ended := await link.do(lambda connection: in_guest.ended(connection, name, pid)):
            return ended
        await asyncio.sleep(_LOOK_S)


async def _copy(link: Link, name: str, path: str, file: Path) -> None:
    handle = await link.do(lambda connection: in_guest.open_file(connection, name, path))
    try:
        # With it comes every secret of the domain.
        private = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(private, "wb") as target:
            while piece := await link.do(lambda connection: in_guest.read(connection, name, handle)):
                await asyncio.to_thread(target.write, piece)
                if target.tell() > LARGEST:
                    raise VmError("failed", f"it is larger than {LARGEST} bytes")
    finally:
        with contextlib.suppress(VmError):
            await link.do(lambda connection: in_guest.close(connection, name, handle))
