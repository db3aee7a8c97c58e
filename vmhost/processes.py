"""The processes behind the machines: libvirt's API does not name them, its pid files do."""

from __future__ import annotations

from pathlib import Path

PIDS = Path("/run/libvirt/qemu")


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
