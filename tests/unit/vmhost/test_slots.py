"""Whatever is cut off where, a machine boots one of its two systems, and in the end one that has proved healthy."""

from pathlib import Path

import pytest

from vmhost.directory import slots
from vmhost.directory.hearing import Status, parse
from vmhost.directory.slots import Slots


@pytest.mark.parametrize("start", [Slots("a"), Slots("b")])
def test_the_steps_of_an_update(start: Slots) -> None:
    assert start.booted == start.active != start.spare
    trying = start.tried()
    assert (trying.active, trying.booted) == (start.active, start.spare)
    assert trying.proved() == Slots(start.spare)
    assert trying.undone() == start
    assert start.undone() == start


def test_the_record_is_there_as_before_or_as_it_is_now(tmp_path: Path) -> None:
    assert slots.read(tmp_path) is None
    for kept in (Slots(), Slots().tried(), Slots("b")):
        slots.write(tmp_path, kept)
        assert slots.read(tmp_path) == kept
    assert [path.name for path in tmp_path.iterdir()] == ["slots.json"]
    assert slots.slot_directory(tmp_path, "b") == tmp_path / "slot-b"


def test_what_a_guest_says_is_not_trusted() -> None:
    line = (
        b'{"step": "start", "text": "up\\u001b[2J\\n", "part": 0.5, "done": false, "error": null, "more": 1}'
    )
    assert parse(line) == Status("start", "up [2J ", 0.5)
    assert parse(b'{"step": "ready", "text": "r", "done": true, "error": "\\u0007"}') == Status(
        "ready", "r", done=True, error=" "
    )
    for nonsense in (b"", b"{", b"[]", b'{"step": 1, "text": "a"}', b'{"text": "a"}', b"\xff"):
        assert parse(nonsense) is None
    said = parse(b'{"step": "a", "text": "%s"}' % (b"x" * 5000))
    assert said is not None
    assert len(said.text) == 1000
