"""The scan against a plain twin, and the vector code of the kernel against its portable code."""

import ctypes
import random
import subprocess
from pathlib import Path

import pytest
from dedupe._kernel import ffi, lib
from hypothesis import given
from hypothesis import strategies as st

from dedupe.index import Index
from tests.unit.dedupe.corpus import NOISE, SOURCES, contents

KERNEL = Path(__file__).resolve().parents[3] / "dedupe" / "kernel"
MASK = (1 << 64) - 1
APART, PIECE, BITS, WINDOW = 16, 512, 6, 32


def picking(raw: bytes, end: int) -> int:
    """Of the 8 bytes before `end`."""
    low, high = (int.from_bytes(raw[at : at + 4], "little") for at in (end - 8, end - 4))
    return (low * 0x9E3779B1 + high * 0x85EBCA77 + 0xC2B2AE3D) & 0xFFFFFFFF


def naming(raw: bytes, end: int) -> int:
    """Of the 32 bytes before `end`."""
    a, b = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
    for at in range(end - WINDOW, end, 16):
        left, right = (int.from_bytes(raw[i : i + 8], "little") for i in (at, at + 8))
        a = (a ^ left) * 0xD6E8FEB86659FD93 & MASK
        b = (b ^ right) * 0xFF51AFD7ED558CCD & MASK
        a, b = a ^ a >> 32, b ^ b >> 32
    return (a + b * 0x9E3779B97F4A7C15) & MASK


def twin(raw: bytes, start: int, stop: int) -> list[tuple[int, int]]:
    start = max(start, WINDOW - 1)
    found: list[int] = []
    last, covered = start - APART, start

    def fill(to: int) -> None:
        nonlocal covered, last
        while to - covered > PIECE:
            last = min(range(covered + 1, covered + PIECE + 1), key=lambda end: picking(raw, end))
            found.append(last)
            covered += PIECE

    for end in range(start + 1, stop + 1):
        if picking(raw, end) >> (32 - BITS) == 0:
            fill(end)
            if end - last >= APART:
                found.append(end)
                last = covered = end
    if start < stop:
        fill(stop)
    return [(naming(raw, end), end) for end in found]


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
    moved = scan(NOISE[:333] + source[:20_000], 333 + WINDOW, 20_333, 4096)
    plain = scan(source[:20_000], WINDOW, 20_000, 4096)
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


class Anchor(ctypes.Structure):
    _fields_ = [("hash", ctypes.c_uint64), ("end", ctypes.c_uint32), ("slot", ctypes.c_uint32)]


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernel without the code that is for this machine's vectors."""
    target = tmp_path_factory.mktemp("kernel") / "portable.so"
    sources = [str(KERNEL / name) for name in ("scan.c", "index.c", "log.c")]
    subprocess.run(
        ["gcc", "-O2", "-std=c17", "-shared", "-fPIC", "-DBL_PLAIN", *sources, "-o", target], check=True
    )
    return ctypes.CDLL(str(target))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("start", "stop"), [(0, 20_000), (31, 4127), (777, 871), (100, 9999)])
def test_vectors_find_what_portable_code_finds(
    portable: ctypes.CDLL, source: bytes, start: int, stop: int
) -> None:
    room = 4096
    out = (Anchor * room)()
    portable.bl_scan.restype = ctypes.c_size_t
    sizes = [ctypes.c_size_t(number) for number in (start, stop)]
    count = portable.bl_scan(source, *sizes, out, ctypes.c_size_t(room))
    assert [(out[i].hash, out[i].end) for i in range(count)] == scan(source, start, stop, room)


def test_vectors_keep_what_portable_code_keeps(portable: ctypes.CDLL) -> None:
    """An index much too small for what is put into it, from two logs, ends the same."""
    ours, theirs = Index(64 << 10), Index(64 << 10)
    for number in range(16):
        source = random.Random(number).randbytes(200_000)
        role, offset = number % 2, number << 18
        lib.bl_index_range(ours.kernel, role, offset, ffi.from_buffer("uint8_t[]", source), len(source))
        portable.bl_index_range(
            ctypes.c_void_p(int(ffi.cast("uintptr_t", theirs.kernel))),
            ctypes.c_uint32(role),
            ctypes.c_uint64(offset),
            source,
            ctypes.c_size_t(len(source)),
        )
    memory = [bytes(ffi.buffer(index.kernel.entry, index.size)) for index in (ours, theirs)]
    assert memory[0] == memory[1]
    assert memory[0].count(bytes(8)) < 100  # it is full
