"""The scan against a plain twin, and the gear table against its generator."""

import random
import re
from pathlib import Path

import pytest
from dedupe._kernel import ffi, lib
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dedupe.corpus import NOISE, SOURCES, contents

KERNEL = Path(__file__).resolve().parents[3] / "dedupe" / "kernel"
MASK = (1 << 64) - 1
APART, PIECE, BITS = 16, 512, 6


def table() -> list[int]:
    source = (KERNEL / "gear.c").read_text()
    return [int(word, 16) for word in re.findall(r"0x([0-9A-F]{16}),", source)]


GEAR = table()


def test_gear_is_splitmix() -> None:
    seed = re.search(r"seed 0x([0-9A-F]+)", (KERNEL / "gear.c").read_text())
    assert seed
    state, expected = int(seed.group(1), 16), []
    for _ in range(256):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        word = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
        expected.append(word ^ word >> 31)
    assert expected == GEAR
    assert all(-word & MASK >= 1 << 64 - BITS for word in GEAR)


def hash_at(raw: bytes, end: int) -> int:
    """Of the 64 bytes before `end`."""
    return sum(GEAR[byte] << age for age, byte in enumerate(reversed(raw[end - 64 : end]))) & MASK


def twin(raw: bytes, start: int, stop: int) -> list[tuple[int, int]]:
    start = max(start, 63)
    found: list[tuple[int, int]] = []
    covered = start

    def fill(to: int) -> None:
        nonlocal covered
        while to - covered > PIECE:
            ends = range(covered + 1, covered + PIECE + 1)
            best = min(ends, key=lambda end: hash_at(raw, end))
            found.append((hash_at(raw, best), best))
            covered += PIECE

    for end in range(start + 1, stop + 1):
        value = hash_at(raw, end)
        if value >> (64 - BITS) == 0 and (not found or end - found[-1][1] >= APART):
            fill(end)
            found.append((value, end))
            covered = end
    if start < stop:
        fill(stop)
    return found


def scan(raw: bytes, start: int, stop: int, room: int = 4096) -> list[tuple[int, int]]:
    out = ffi.new("bl_anchor[]", room)
    count = lib.bl_scan(ffi.from_buffer("uint8_t[]", raw), start, stop, out, room)
    return [(out[i].hash, out[i].end) for i in range(count)]


@given(contents(1500), st.integers(0, 100), st.integers(0, 100))
def test_scan_equals_its_twin(raw: bytes, head: int, tail: int) -> None:
    start, stop = min(head, len(raw)), max(len(raw) - tail, 0)
    assert scan(raw, start, stop) == twin(raw, start, stop)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("start", "stop"), [(0, 9000), (100, 4196), (64, 4863)])
def test_long_scans_equal_their_twin(source: bytes, start: int, stop: int) -> None:
    """Long enough for lanes of full width, and a rest."""
    assert scan(source, start, stop) == twin(source, start, stop)


@pytest.mark.parametrize("source", SOURCES)
def test_anchors_are_of_the_content(source: bytes) -> None:
    """The same bytes elsewhere have the same anchors."""
    moved = scan(NOISE[:333] + source[:20_000], 333 + 64, 20_333, 4096)
    plain = scan(source[:20_000], 64, 20_000, 4096)
    assert plain
    assert {value for value, _ in plain} == {value for value, _ in moved}


def test_room_is_kept() -> None:
    raw = random.Random(3).randbytes(20_000)
    full = scan(raw, 0, len(raw))
    assert len(full) > 200
    assert scan(raw, 0, len(raw), 50) == full[:50]


def test_density() -> None:
    raw = random.Random(4).randbytes(100_000)
    assert 1200 < len(scan(raw, 0, len(raw))) < 1700


@pytest.mark.parametrize("byte", [0, 1, 32, 255])
def test_runs_have_anchors(byte: int) -> None:
    anchors = scan(bytes([byte]) * 10_000, 0, 10_000)
    assert 10 <= len(anchors) <= 20
    assert len({value for value, _ in anchors}) == 1
