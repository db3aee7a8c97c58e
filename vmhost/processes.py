"""The processes behind the machines (libvirt's API does not name them, its pid files do), and those that we begin."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path

from vmhost.errors import VmError

PIDS = Path("/run/libvirt/qemu")


async def launch(
    *command: str, stdout: int = PIPE, stderr: int = PIPE, env: Mapping[str, str] | None = None
) -> Process:
    """Start a program, without input. VmError if it cannot be: it is not installed, say, or memory has run out."""
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=stdout, stderr=stderr, env=env
        )
    except OSError as error:
        raise VmError("failed", f"{command[0]} cannot be run: {error.strerror}; is it installed?") from None


def emulator(name: str, pids: Path = PIDS) -> int:
    """Pid of the QEMU of a machine that runs; ProcessLookupError if there is none."""
    try:
        pid = int((pids / f"{name}.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError) as error:
        raise ProcessLookupError(f"the process of {name} is not known ({error})") from None
    if f"guest={name},".encode() not in command:  # the file is an old one, the number somebody else's by now
        raise ProcessLookupError(f"process {pid} is not that of {name}")
    return pid


def forget_state(name: str, pids: Path = PIDS) -> None:
    """Delete libvirtd's note of a machine that ran, so that the next libvirtd does not believe in it."""
    (pids / f"{name}.xml").unlink(missing_ok=True)


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "VmRSS:"), 0)
