"""A soak's pure parts: what counts as flat, what counts as left over, documents that repeat and change."""

import dataclasses
from pathlib import Path

import pytest

from appliance.lab.soak import documents, verdict
from appliance.lab.soak.gauges import Reading
from appliance.lab.soak.turn_error import TurnError

IDLE = Reading({"dc data": 7}, {"dc data": 100.0}, {"dc data": 20}, {"dc": 4}, {"dc": 8})


def readings(*rss: float) -> list[Reading]:
    return [dataclasses.replace(IDLE, rss={"dc data": value}) for value in rss]


def test_memory_that_fills_first_and_stays_is_flat() -> None:
    filling = [20.0 * step for step in range(10)] + [200.0, 201.0] * 15
    (figure,) = verdict.memory(readings(*filling))
    assert figure.ok
    assert figure.value <= 1


def test_memory_that_goes_on_growing_is_not() -> None:
    (figure,) = verdict.memory(readings(*(100.0 + step for step in range(40))))
    assert figure.value == pytest.approx(20, abs=1)
    assert not figure.ok


def test_a_spike_at_the_end_is_no_growth() -> None:
    (figure,) = verdict.memory(readings(*[100.0] * 39, 300.0))
    assert figure.value == 0


def test_a_process_that_was_started_again_counts() -> None:
    again = dataclasses.replace(IDLE, pids={"dc data": 8})
    missing = dataclasses.replace(IDLE, pids={})
    assert verdict.restarts([IDLE, IDLE]).ok
    assert not verdict.restarts([IDLE, again]).ok
    assert not verdict.restarts([IDLE, missing]).ok


@pytest.mark.parametrize("kind", ["descriptors", "connections", "sockets"])
def test_what_stays_when_all_has_ended_is_left_over(kind: str) -> None:
    assert verdict.nothing_left(IDLE, IDLE)
    more = {name: count + 20 for name, count in getattr(IDLE, kind).items()}
    assert not verdict.nothing_left(IDLE, dataclasses.replace(IDLE, **{kind: more}))


def test_every_third_document_is_the_next_version_of_the_one_before() -> None:
    first, second = documents.document(4), documents.document(5)
    assert first == documents.document(4)
    assert first != second
    assert abs(len(first) - len(second)) < documents.EDITS * 100


def test_a_shelf_keeps_what_it_says_and_a_turn_names_what_is_there(tmp_path: Path) -> None:
    shelf = documents.Shelf(tmp_path / "shelf", first=0)
    for _ in range(7):
        assert all(path.exists() for path in shelf.turn())
    assert len(list(shelf.directory.iterdir())) == documents.KEPT


def test_what_arrives_is_compared(tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(b"as it was")
    with pytest.raises(TurnError, match="not arrived") as missing:
        documents.compare([sent], [got])
    assert not missing.value.wrong
    got.write_bytes(b"as it wa5")
    with pytest.raises(TurnError, match="not what was sent") as other:
        documents.compare([sent], [got])
    assert other.value.wrong
    got.write_bytes(b"as it was")
    assert documents.compare([sent], [got]) == 9
