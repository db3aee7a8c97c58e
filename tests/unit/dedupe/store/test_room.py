"""What caches take on a disk, and which of them give way."""

from __future__ import annotations

import os
from pathlib import Path

from dedupe import disk_size, open_cache, stored, too_many
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


def test_whose_it_was_need_not_be_known(tmp_path: Path) -> None:
    open_cache(tmp_path, box="branch", peer="dc", capacity=1 << 20).close()
    (tmp_path / "dc/channel-0-domain-0/identity").write_bytes(b"?")
    assert [(one.peer, one.domain) for one in stored(tmp_path)] == [("dc", -1)]


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
