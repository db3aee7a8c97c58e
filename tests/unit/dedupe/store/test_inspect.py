"""Caches seen from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dedupe import CacheInUse, clear, inspect
from tests.unit.dedupe.store.boxes import ALL, Box


def test_in_use(boxes: tuple[Box, Box]) -> None:
    (report,) = inspect(boxes[0].root)
    assert (report.box, report.peer, report.in_use, report.incarnation) == ("branch", "dc", True, 1)
    assert [(log.log, log.held, log.clean, log.problem) for log in report.logs] == [
        ("written", ALL, False, ""),
        ("received", 0, True, ""),
    ]
    with pytest.raises(CacheInUse, match="in use"):
        clear(boxes[0].root)


def test_closed_and_damaged(boxes: tuple[Box, Box]) -> None:
    box = boxes[0]
    box.cache.close()
    (report,) = inspect(box.root, verify=True)
    assert not report.in_use
    assert report.logs[0].clean
    assert (report.logs[0].verified, report.logs[0].damaged) == (ALL, 0)
    with (box.directory / "written.ring").open("r+b") as ring:
        ring.seek(50_000)
        ring.write(b"\0\0\0\0\0\0\0\0")
    (report,) = inspect(box.root, verify=True)
    assert report.logs[0].damaged > 0
    assert report.logs[0].verified + report.logs[0].damaged == ALL


def test_clear(boxes: tuple[Box, Box]) -> None:
    box = boxes[0]
    box.cache.close()
    assert clear(box.root, peer="other") == []
    assert clear(box.root) == [box.directory]
    assert inspect(box.root) == []
    assert [finding.kind for finding in box.reopen()] == ["cache.new"]


def test_files_that_make_no_sense(boxes: tuple[Box, Box]) -> None:
    box = boxes[0]
    box.cache.close()
    (box.directory / "written.journal").write_bytes(b"no journal")
    (report,) = inspect(box.root)
    assert report.logs[0].problem
    (box.directory / "identity").write_bytes(b"{}")
    (report,) = inspect(box.root)
    assert "identity" in report.problem


@pytest.mark.parametrize("size", [0, 5000])
def test_a_ring_cut_short(boxes: tuple[Box, Box], size: int) -> None:
    box = boxes[0]
    box.cache.close()
    os.truncate(box.directory / "written.ring", size)
    (report,) = inspect(box.root, verify=True)
    assert str(size) in report.logs[0].problem


def test_nothing_there(tmp_path: Path) -> None:
    assert inspect(tmp_path / "none") == []
