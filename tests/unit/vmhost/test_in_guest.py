"""What is taken from a guest by its agent, whoever the guest is."""

import asyncio
import base64
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmhost.backup import archive
from vmhost.errors import VmError
from vmhost.link import LOOK_S, Link


class _Connection:
    def lookupByName(self, name: str) -> str:  # noqa: N802 - libvirt's
        return name


class _Direct(Link):
    async def do(self, call: Callable[[Any], Any], within: float = LOOK_S) -> Any:
        return call(_Connection())


def _fetch(monkeypatch: pytest.MonkeyPatch, file: Path, **lies: object) -> None:
    """From a guest that has the archive "domain", but says `lies` ("guest_exec") where there are any."""
    pieces = [b"dom", b"ain", b""]

    def answer(_domain: str, request: str, _within: int, _flags: int) -> str:
        command = json.loads(request)["execute"]
        truth: dict[str, Callable[[], object]] = {
            "guest-exec": lambda: {"pid": 1},
            "guest-exec-status": lambda: {"exited": True, "exitcode": 0, "out-data": "L2FyY2hpdmU="},
            "guest-file-open": lambda: 7,
            "guest-file-read": lambda: {"count": 3, "buf-b64": base64.b64encode(pieces.pop(0)).decode()},
            "guest-file-close": dict,
        }
        lie = lies.get(command.replace("-", "_"))
        return json.dumps({"return": truth[command]() if lie is None else lie})

    agent = types.ModuleType("libvirt_qemu")
    agent.qemuAgentCommand = answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "libvirt_qemu", agent)
    asyncio.run(archive.fetch(_Direct(""), "directory", file))


def test_a_domain_is_for_its_owner_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "domain"
    _fetch(monkeypatch, file)
    assert file.read_bytes() == b"domain"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "lie",
    [
        {"guest_exec": []},
        {"guest_exec": {"pid": "x"}},
        {"guest_exec_status": {}},
        {"guest_exec_status": {"exited": True, "out-data": "no base64"}},
        {"guest_exec_status": {"exited": True, "exitcode": {}}},
        {"guest_exec_status": {"exited": True, "exitcode": 1, "err-data": "G1syAA=="}},
        {"guest_file_open": {}},
        {"guest_file_read": {"buf-b64": 5}},
        {"guest_file_read": 5},
    ],
)
def test_a_guest_that_lies(lie: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets no backup with an archive, and nothing else comes of it."""
    with pytest.raises(VmError) as said:
        _fetch(monkeypatch, tmp_path / "domain", **lie)
    assert str(said.value).isprintable()


def test_a_guest_that_answers_without_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archive, "WITHIN_S", 0.05)
    with pytest.raises(VmError, match="takes longer"):
        _fetch(monkeypatch, tmp_path / "domain", guest_file_read={"buf-b64": "eA=="})


def test_a_guest_that_never_cleans_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who gives the backup up does not wait for it."""
    monkeypatch.setattr(archive, "WITHIN_S", 0.05)
    monkeypatch.setattr(archive, "CLEAN_S", 0.05)
    with pytest.raises(VmError, match="takes longer"):
        _fetch(monkeypatch, tmp_path / "domain", guest_exec_status={"exited": False})
