"""Programs and files in a guest, by its agent: each function takes the connection, blocks, and is quick.

The guest may be anybody's: what its agent answers is VmError if it is not of the form that was asked for.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from vmhost.backup.job import FREEZE_S
from vmhost.errors import VmError

PIECE = 2 * 2**20
"""Bytes of a file that are asked for in one go; libvirt takes 4 MiB of JSON."""

T = TypeVar("T")


class _Begun(msgspec.Struct):
    pid: int


class _Status(msgspec.Struct, rename="kebab"):
    exited: bool
    exitcode: int = -1
    out_data: bytes = b""
    err_data: bytes = b""


class _Piece(msgspec.Struct):
    content: bytes = msgspec.field(name="buf-b64")


def begin(connection: Any, name: str, *command: str) -> int:
    """Start a program; returns its number for `ended`."""
    arguments = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
    return _ask(connection, name, "guest-exec", arguments, _Begun).pid


def ended(connection: Any, name: str, pid: int) -> tuple[int, str, str] | None:
    """A program's exit status, and what it said on standard output and standard error; None while it runs."""
    found = _ask(connection, name, "guest-exec-status", {"pid": pid}, _Status)
    if not found.exited:
        return None
    out, err = (said.decode(errors="replace").strip() for said in (found.out_data, found.err_data))
    return found.exitcode, out, err


def open_file(connection: Any, name: str, path: str) -> int:
    """A file of the guest, to be read; returns its number."""
    return _ask(connection, name, "guest-file-open", {"path": path, "mode": "r"}, int)


def read(connection: Any, name: str, file: int) -> bytes:
    """The next piece of a file; empty at its end."""
    return _ask(connection, name, "guest-file-read", {"handle": file, "count": PIECE}, _Piece).content


def close(connection: Any, name: str, file: int) -> None:
    """A file is not needed any more."""
    _ask(connection, name, "guest-file-close", {"handle": file}, dict)


def _ask(connection: Any, name: str, command: str, arguments: dict[str, Any], kind: type[T]) -> T:
    import libvirt_qemu

    request = json.dumps({"execute": command, "arguments": arguments})
    said = libvirt_qemu.qemuAgentCommand(connection.lookupByName(name), request, FREEZE_S, 0)
    try:
        return msgspec.convert(msgspec.json.decode(said)["return"], kind)
    except (msgspec.MsgspecError, KeyError, TypeError, RecursionError):
        raise VmError("failed", f"the guest agent answers {said[:200]!r}") from None
