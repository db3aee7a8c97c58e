"""What a machine says of itself on its channel."""

import asyncio
from pathlib import Path

import pytest

from vmhost.directory.following import follow
from vmhost.directory.hearing import Status
from vmhost.errors import VmError

BEGAN = b'{"step": "join", "text": "copying", "part": 0.5, "done": false, "error": null}\n'
DONE = b'{"step": "ready", "text": "serves", "part": 1.0, "done": true, "error": null}\n'


def _heard(tmp_path: Path, said: bytes) -> tuple[list[Status], str]:
    """What is told of a machine that says so and ends, and how it ends."""
    told: list[Status] = []

    async def machine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async def listen() -> None:
        async with await asyncio.start_unix_server(machine, tmp_path / "channel"):
            async for one in follow(str(tmp_path / "channel"), 10.0):
                told.append(one)

    with pytest.raises(VmError) as ended:
        asyncio.run(listen())
    return told, str(ended.value)


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    told, ended = _heard(tmp_path, b'f a line"}\n' + BEGAN * 3 + DONE * 2)
    assert [(one.step, one.part, one.done) for one in told] == [("join", 0.5, False), ("ready", 1.0, True)]
    assert "has ended" in ended


def test_a_machine_that_is_gone(tmp_path: Path) -> None:
    async def listen() -> None:
        async for _ in follow(str(tmp_path / "channel"), 10.0):
            pass

    with pytest.raises(VmError, match="cannot be heard"):
        asyncio.run(listen())


def test_a_machine_that_says_nothing_new(tmp_path: Path) -> None:
    async def machine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BEGAN * 2)

    async def listen() -> None:
        async with await asyncio.start_unix_server(machine, tmp_path / "channel"):
            async for _ in follow(str(tmp_path / "channel"), 0.05):
                pass

    with pytest.raises(VmError, match="the machine has said nothing but"):
        asyncio.run(listen())
