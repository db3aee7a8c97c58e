"""What a machine says of itself on its channel."""

import asyncio
from pathlib import Path

import pytest

from vmhost.directory.following import follow
from vmhost.directory.hearing import Status, parse
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


def test_a_machine_that_gets_no_further(tmp_path: Path) -> None:
    """It is not the number of different words that counts: who waits is told all of them, and then the last."""
    again = BEGAN.replace(b"copying", b"the centre does not answer; it is tried again")

    async def machine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(BEGAN + again)
            await writer.drain()
            await asyncio.sleep(0)

    async def listen() -> None:
        async with await asyncio.start_unix_server(machine, tmp_path / "channel"):
            async for _ in follow(str(tmp_path / "channel"), 0.05):
                pass

    with pytest.raises(VmError, match="no further; it says: "):
        asyncio.run(asyncio.wait_for(listen(), 30.0))


@pytest.mark.parametrize("part", [b"-1", b"1.5", b"1e999"])
def test_a_fraction_that_is_none_is_not_believed(part: bytes) -> None:
    assert parse(BEGAN.replace(b"0.5", part)) is None
