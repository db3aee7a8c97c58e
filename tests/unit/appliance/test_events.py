"""The event log: bounded, readable after a crash, and alive when the disk is not."""

import io
import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.events import Event, EventLog, decode, encode


def event(number: int, **fields: object) -> Event:
    return Event(
        time=float(number), kind="test.event", text=f"event {number}", evidence={"n": number, **fields}
    )


def numbers(log: EventLog) -> list[int]:
    return [found.evidence["n"] for found in log.since() if found.kind == "test.event"]


@given(
    st.builds(
        Event,
        time=st.floats(0, 1e10),
        kind=st.text("abc."),
        severity=st.sampled_from(["info", "warning", "error"]),
        subject=st.text("abc"),
        text=st.text('ab"\n\\µ\u2028'),
        evidence=st.dictionaries(st.text("ab"), st.integers(-9, 9) | st.text('a"\n')),
    )
)
def test_an_event_is_one_line(some: Event) -> None:
    assert b"\n" not in encode(some)
    assert decode(encode(some)) == some
    assert "\n" not in some.line()


def test_a_line_for_a_person() -> None:
    down = Event(
        time=1769860800.0, kind="peer.down", severity="warning", subject="dc", text="no heartbeat\nfor 1 s"
    )
    assert down.line() == "2026-01-31T12:00:00Z warning peer.down dc: no heartbeat for 1 s"


def test_evidence_without_end_is_left_out() -> None:
    line = encode(event(1, blob="x" * 100_000))
    assert len(line) < 10_000
    assert decode(line).evidence["left_out_bytes"] > 100_000


def test_the_log_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, size=2**20, echo=io.StringIO())
    for number in range(5):
        log.append(event(number))
    again = EventLog(path, size=2**20, echo=io.StringIO())
    assert numbers(again) == [0, 1, 2, 3, 4]
    assert [found.time for found in again.since(2.0)] == [3.0, 4.0]


def test_a_crash_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path, size=2**20, echo=io.StringIO()).append(event(1))
    with path.open("ab") as file:
        file.write(encode(event(2))[:20])
    log = EventLog(path, size=2**20, echo=io.StringIO())
    log.append(event(3))
    assert numbers(EventLog(path, size=2**20, echo=io.StringIO())) == [1, 3]


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 500, encode(event(2)).replace(b"test.event", b"\xff\xfe"), b"[" * 100_000, b'{"time":1}', b"\r"],
)
def test_what_a_bad_disk_leaves_in_the_log(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(event(1)) + b"\n" + garbage + b"\n" + encode(event(3)) + b"\n")
    assert numbers(EventLog(path, size=2**20, echo=io.StringIO())) == [1, 3]
    with pytest.raises(msgspec.DecodeError):
        decode(garbage)


def test_a_log_of_any_size_is_opened_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.truncate(2**33)  # sparse: eight GiB that nobody may read
        file.seek(0, io.SEEK_END)
        file.write(b"\n" + encode(event(1)) + b"\n")
    assert numbers(EventLog(path, size=2**34, echo=io.StringIO())) == [1]


def test_the_size_is_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, size=20_000, keep=10 * len(encode(event(990))), echo=io.StringIO())
    for number in range(1000):
        log.append(event(number))
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 20_000
    assert numbers(log) == list(range(990, 1000))
    kept = numbers(EventLog(path, size=20_000, echo=io.StringIO()))
    assert kept == list(range(kept[0], 1000))
    assert len(kept) > 50


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file grows beyond this many bytes: the kernel says so with a real error (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_survived_and_said(tmp_path: Path, small_disk: int) -> None:
    terminal = io.StringIO()
    path = tmp_path / "events.jsonl"
    log = EventLog(path, size=2**20, echo=terminal, clock=lambda: 99.0)
    for number in range(50):
        log.append(event(number))
    assert numbers(log) == list(range(50)), "all in memory"
    assert path.stat().st_size <= small_disk
    assert [found.kind for found in log.since() if found.kind == "log.failed"] == ["log.failed"], "said once"
    assert "events cannot be written to disk" in terminal.getvalue()
    assert path.read_bytes().endswith(b"\n"), "no half line"

    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.append(event(50))
    written = numbers(EventLog(path, size=2**20, echo=io.StringIO()))
    gaps = [found for found in log.since() if found.kind == "log.recovered"]
    assert [gap.evidence["missing"] for gap in gaps] == [51 - len(written)]
    assert written[-1] == 50


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        log = EventLog(path, size=2**20, echo=full)
        log.append(event(1))
        assert numbers(log) == numbers(EventLog(path, size=2**20)) == [1]


def test_a_state_directory_that_is_gone(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "none" / "events.jsonl", size=2**20, echo=io.StringIO())
    log.append(event(1))
    assert [found.kind for found in log.since()] == ["test.event", "log.failed"]
    (tmp_path / "none").mkdir()
    log.append(event(2))
    assert [found.kind for found in log.since()][-2:] == ["test.event", "log.recovered"]
