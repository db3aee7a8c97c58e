"""The daemons of this box as the kernel sees them, alive, hung or half dead."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final

_FILES: Final = ("status", "limits", "smaps_rollup", "io", "stat", "cgroup", "wchan")
_MODULES: Final = {b"appliance.control": "control", b"appliance.data": "data"}
_COMMANDS: Final = (b"branchline", b"appliance.cli")


def daemons(proc: Path = Path("/proc")) -> dict[str, int]:
    """Process ids of this network namespace's daemons, by name: supervisor, control, data, and what is left of them."""
    own = _link(proc / "self" / "ns" / "net")
    found: dict[str, int] = {}
    for entry in sorted(proc.iterdir(), key=lambda path: path.name):
        if not entry.name.isdigit():
            continue
        name = role((_bytes(entry / "cmdline")).split(b"\0"))
        if name and _link(entry / "ns" / "net") == own:
            found[name if name not in found else f"{name}-{entry.name}"] = int(entry.name)
    return found


def role(words: list[bytes]) -> str:
    """Which daemon a command line is of; "" if it is none."""
    for at, word in enumerate(words):
        if word in _MODULES:
            number = b"".join(words[at + 3 : at + 4])
            return _MODULES[word] + (f"-{int(number)}" if number.isdigit() and number != b"1" else "")
        if word.rsplit(b"/", 1)[-1] in _COMMANDS:
            return "supervisor" if b"run" in words else ""
    return ""


def figures(pid: int, proc: Path = Path("/proc")) -> str:
    """What the kernel tells of one process: never its memory or its environment."""
    entry = proc / str(pid)
    parts = [f"== {name}\n{_bytes(entry / name).decode(errors='replace').rstrip()}\n" for name in _FILES]
    kinds = Counter(_kind(_link(path)) for path in _listed(entry / "fd"))
    opened = "\n".join(f"{count} {kind}" for kind, count in kinds.most_common())
    tasks = "\n".join(
        f"{task.name} {_bytes(task / 'comm').decode(errors='replace').strip()} {_bytes(task / 'wchan').decode()}"
        for task in _listed(entry / "task")
    )
    return "".join((*parts, f"== descriptors\n{opened}\n", f"== threads\n{tasks}\n"))


def _kind(target: str) -> str:
    """ "socket", "pipe", "anon_inode:[eventpoll]", or "file"."""
    if target.startswith("/"):
        return "file"
    return target if target.startswith("anon_inode") else target.split(":", 1)[0] or "unreadable"


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _bytes(path: Path) -> bytes:
    """A file of a process that may be gone by now."""
    try:
        return path.read_bytes()
    except OSError as error:
        return f"({error.strerror})".encode()


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
