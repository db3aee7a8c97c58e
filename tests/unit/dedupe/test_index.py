"""The anchor index within its budget: what it keeps of a log much longer than it can hold densely."""

import random
from typing import Any

import pytest
from dedupe._kernel import ffi, lib

from dedupe.index import BUCKET, Index
from tests.bench.index import BLOCK, content, edited, measure

MEMORY = 256 << 10  # 32768 entries, for a sixth of the anchors
PAGE = 64 << 10
PAGES = 256


def page(number: int) -> bytes:
    """The log's bytes [number * PAGE, (number + 1) * PAGE)."""
    per_block = BLOCK // PAGE
    return content(number // per_block)[number % per_block * PAGE :][:PAGE]


def learn(index: Index, numbers: list[int]) -> None:
    for number in numbers:
        lib.bl_index_range(index.kernel, 0, number * PAGE, ffi.from_buffer("uint8_t[]", page(number)), PAGE)


def offsets(index: Index) -> list[int]:
    """What the index has, ascending."""
    entries: Any = index.kernel.entry
    found = (entries[i] & (1 << 40) - 1 for i in range(index.kernel.buckets * lib.BL_BUCKET) if entries[i])
    return sorted(found)


def density(found: list[int], first: int, last: int) -> float:
    """Share of the anchors that pages [first, last) have."""
    held = sum(first * PAGE < offset <= last * PAGE for offset in found)
    return held / ((last - first) * PAGE / 80)


@pytest.mark.parametrize("order", ["as written", "newest first"])
def test_thins_with_age(order: str) -> None:
    """The young keep all their anchors and the oldest some, in whichever order they are learned."""
    index = Index(MEMORY)
    numbers = list(range(PAGES))
    learn(index, numbers if order == "as written" else numbers[::-1])
    found = offsets(index)
    assert len(found) > 0.99 * MEMORY / 8
    newest = density(found, PAGES - 1, PAGES)
    parts = [density(found, low, low + PAGES // 4) for low in range(0, PAGES, PAGES // 4)]
    assert newest > 0.6
    assert parts == sorted(parts)
    assert 0.015 < parts[0] < parts[3] < newest


def test_budget_is_kept() -> None:
    for budget in (70_000, 100_000, 1 << 20, 3_333_333):
        assert budget - BUCKET < Index(budget).size <= budget


def test_nothing_is_learned_twice() -> None:
    index = Index(MEMORY)
    learn(index, [0])
    once = offsets(index)
    learn(index, [0, 0])
    assert offsets(index) == once


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_smaller_one_keeps_the_best(share: float) -> None:
    """As if the log had been learned by the smaller one in the first place."""
    index, small, direct = Index(MEMORY), Index(round(MEMORY * share)), Index(round(MEMORY * share))
    learn(index, list(range(PAGES)))
    learn(direct, list(range(PAGES)))
    small.take(index)
    found = offsets(small)
    assert set(found) <= set(offsets(index))
    assert len(found) > 0.98 * small.size / 8
    assert len(set(found) & set(offsets(direct))) > 0.85 * len(found)


def test_a_larger_one_has_all_of_it_and_room_for_more() -> None:
    index, large = Index(MEMORY), Index(2 * MEMORY)
    learn(index, list(range(PAGES // 8)))
    large.take(index)
    assert set(offsets(large)) == set(offsets(index))
    later = list(range(PAGES // 8, PAGES // 4))
    alone = Index(4 * MEMORY)
    learn(alone, later)
    learn(large, later)
    assert len(set(offsets(alone)) & set(offsets(large))) > 0.9 * len(offsets(alone))


def test_keeps_the_reduction() -> None:
    """5 MB per GB, repeats spread over all ages: at least 95 % of what a full index finds."""
    for row in measure(64 << 20, 0.005, places=12):
        assert row.index <= row.log * 0.005
        assert row.full > 0.95 * row.bytes
        assert row.kept > 0.95, row


def test_a_hit_fills_its_neighbourhood() -> None:
    """The second of two edited copies of an old stretch finds more anchors than were left of it."""
    index = Index(MEMORY)
    learn(index, list(range(PAGES)))
    before = density(offsets(index), 8, 16)
    raw = edited(b"".join(page(number) for number in range(8, 12)), random.Random(3))[:BLOCK]
    log = ffi.new("uint8_t[]", b"".join(map(page, range(PAGES))))
    segments = ffi.new("uint8_t *[]", [log + number * PAGE for number in range(PAGES)])
    kernel = ffi.new("bl_log *", {"segment": segments, "segment_bits": 16, "segments": PAGES})
    held = ffi.new("bl_range[]", [{"start": 0, "end": PAGES * PAGE}])
    copies = len(raw) // 32 + 2
    rooms = [
        ffi.new("uint8_t[]", copies * lib.BL_TOKEN_MAX),
        ffi.new("uint8_t[]", len(raw)),
        ffi.new("bl_anchor[]", len(raw) // 16),
        ffi.new("bl_copy[]", copies),
    ]
    search = ffi.new("bl_search *", {"index": index.kernel, "copy": 1, "relog_below": 1})
    search.view[0] = {"log": kernel, "range": held, "ranges": 1}
    found = ffi.new(
        "bl_found *",
        {
            "token": rooms[0],
            "token_room": copies * lib.BL_TOKEN_MAX,
            "literal": rooms[1],
            "anchor": rooms[2],
            "anchor_room": len(raw) // 16,
            "copy": rooms[3],
            "copy_room": copies,
        },
    )
    assert before < 0.1
    assert lib.bl_match(search, ffi.from_buffer("uint8_t[]", raw), len(raw), found) == lib.BL_OK
    assert found.copied > 0.95 * len(raw)
    assert density(offsets(index), 8, 12) > 3 * before
