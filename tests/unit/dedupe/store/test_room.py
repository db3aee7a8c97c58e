"""What caches take on a disk, and which of them give way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dedupe import delete, disk_size, inspect, open_cache, stored, too_many
from dedupe.store.room import Stored


def test_sizes_on_disk_are_those_foretold(tmp_path: Path) -> None:
    for domain in (0, 3):
        open_cache(tmp_path, box="branch", peer="dc", capacity=1 << 20, domain=domain).close()
    found = stored(tmp_path)
    assert [(one.peer, one.domain) for one in found] == [("dc", 0), ("dc", 3)]
    for one in found:
        rings = sum(file.stat().st_size for file in one.path.glob("*.ring"))
        blocks = sum(512 * file.stat().st_blocks for file in one.path.glob("*.ring"))
        assert rings == disk_size(1 << 20) <= blocks
        assert 0 < one.size - rings < 4096


@pytest.mark.parametrize("identity", [b"?", None])
def test_what_was_left_half_made_or_half_cleared_counts(tmp_path: Path, identity: bytes | None) -> None:
    open_cache(tmp_path, box="branch", peer="dc", capacity=1 << 20, domain=2).close()
    path = tmp_path / "dc/channel-0-domain-2/identity"
    path.unlink() if identity is None else path.write_bytes(identity)
    (one,) = stored(tmp_path)
    assert (one.peer, one.domain) == ("dc", 2)
    assert one.size > disk_size(1 << 20)
    (report,) = inspect(tmp_path)
    assert report.problem
    delete([one.path])
    assert not stored(tmp_path)
    assert not inspect(tmp_path)


def test_the_longest_unused_goes_first() -> None:
    caches = [Stored(Path(name), name, 0, 10, used) for name, used in (("a", 3.0), ("b", 1.0), ("c", 2.0))]
    assert [[one.peer for one in too_many(caches, room)] for room in (30, 29, 10, 9, -1)] == [
        [],
        ["b"],
        ["b", "c"],
        ["b", "c", "a"],
        ["b", "c", "a"],
    ]


def test_used_is_when_it_was_written_last(tmp_path: Path) -> None:
    for peer in ("old", "new"):
        open_cache(tmp_path, box="branch", peer=peer, capacity=1 << 20).close()
    for file in (tmp_path / "old").rglob("*.*"):
        os.utime(file, (1.0, 1.0))
    assert [one.peer for one in too_many(stored(tmp_path), disk_size(1 << 20) + 8192)] == ["old"]
