"""Programs and files in a guest, by its agent: each function takes the connection, blocks, and is quick."""

from __future__ import annotations

import base64
import json
from typing import Any

from vmhost.backup.job import FREEZE_S
from vmhost.errors import VmError

PIECE = 2 * 2**20
"""Bytes of a file that are asked for in one go; libvirt takes 4 MiB of JSON."""


def begin(connection: Any, name: str, *command: str) -> int:
    """Start a program; returns its number for `ended`."""
    arguments = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
    return int(_ask(connection, name, "guest-exec", arguments)["pid"])


def ended(connection: Any, name: str, pid: int) -> tuple[int, str, str] | None:
    """A program's exit status, and what it said on standard output and standard error; None while it runs."""
    found = _ask(connection, name, "guest-exec-status", {"pid": pid})
    if not found["exited"]:
        return None
    said = (base64.b64decode(found.get(key, "")).decode(errors="replace") for key in ("out-data", "err-data"))
    return int(found.get("exitcode", -1)), *(text.strip() for text in said)  # type: ignore[return-value]


def open_file(connection: Any, name: str, path: str) -> int:
    """A file of the guest, to be read; returns its number."""
    return int(_ask(connection, name, "guest-file-open", {"path": path, "mode": "r"}))


def read(connection: Any, name: str, file: int) -> bytes:
    """The next piece of a file; empty at its end."""
    found = _ask(connection, name, "guest-file-read", {"handle": file, "count": PIECE})
    return base64.b64decode(found["buf-b64"])


def close(connection: Any, name: str, file: int) -> None:
    """A file is not needed any more."""
    _ask(connection, name, "guest-file-close", {"handle": file})


def _ask(connection: Any, name: str, command: str, arguments: dict[str, Any]) -> Any:
    import libvirt_qemu

    request = json.dumps({"execute": command, "arguments": arguments})
    said = libvirt_qemu.qemuAgentCommand(connection.lookupByName(name), request, FREEZE_S, 0)
    try:
        return json.loads(said)["return"]
    except (ValueError, KeyError):
        raise VmError("failed", f"the guest agent answers {said[:200]!r}") from None
