"""A file that fails under its mapping."""

import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dedupe._kernel import ffi, lib

from dedupe.store.mapping import Mapping

PAGE = mmap.PAGESIZE
CONTENT = b"".join(bytes([number]) * PAGE for number in range(1, 9))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "ring"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def read(mapping: Mapping, at: int, length: int) -> bytes:
    out = ffi.new("uint8_t[]", length)
    segments = ffi.new("uint8_t *[]", [mapping.start + page * PAGE for page in range(8)])
    log = ffi.new("bl_log *", {"segment": segments, "segment_bits": PAGE.bit_length() - 1, "segments": 8})
    lib.bl_log_read(log, at, out, length)
    return bytes(ffi.buffer(out))


def test_pages_that_cannot_be_read_are_zeros_and_are_told(file: int) -> None:
    mapping = Mapping(file, len(CONTENT))
    os.truncate(file, 3 * PAGE)
    assert read(mapping, 2 * PAGE, 3 * PAGE) == CONTENT[2 * PAGE : 3 * PAGE] + bytes(2 * PAGE)
    assert mapping.failed() == [3 * PAGE, 4 * PAGE]
    assert mapping.failed() == []
    assert read(mapping, 0, PAGE) == CONTENT[:PAGE]
    mapping.close()


def test_too_many_to_remember(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_bytes(bytes((lib.BL_FAULTS + 9) * PAGE))
    with path.open("r+b") as opened:
        mapping = Mapping(opened.fileno(), (lib.BL_FAULTS + 9) * PAGE)
        opened.truncate(0)
        segment = ffi.new("uint8_t *[]", [mapping.start])
        log = ffi.new("bl_log *", {"segment": segment, "segment_bits": 30, "segments": 1})
        out = ffi.new("uint8_t[]", mapping.size)
        lib.bl_log_read(log, 0, out, mapping.size)
    assert mapping.failed() is None
    assert mapping.failed() == []
    mapping.close()


def test_two_mappings_do_not_answer_for_each_other(file: int) -> None:
    one, two = Mapping(file, len(CONTENT)), Mapping(file, len(CONTENT))
    os.truncate(file, 0)
    assert read(two, 0, 1) == b"\0"
    assert (one.failed(), two.failed()) == ([], [0])
    one.close()
    two.close()


FOREIGN = """
import mmap, os, sys
from dedupe.store.mapping import Mapping
file = os.open(sys.argv[1], os.O_RDWR)
guarded = Mapping(file, 4096)
other = mmap.mmap(file, 4096)
os.truncate(file, 0)
other[0]
"""


def test_any_other_bus_error_kills_as_ever(file: int, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FOREIGN, tmp_path / "ring"], check=False)
    assert done.returncode == -signal.SIGBUS


def test_threads_that_open_files_at_a_time_guard_all_of_them() -> None:
    """As caches do whose disk answers again after all of them have waited for it."""
    faults = ffi.new("uint64_t[]", 1 + lib.BL_FAULTS)
    places = ffi.new("uint8_t[]", 8192)
    added: list[int] = []

    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            if lib.bl_guard_add(places + number, 1, faults) != lib.BL_OK:
                return
            added.append(number)

    free = []
    for threads in (1, *[4] * 8):
        running = [threading.Thread(target=fill, args=(k * 1000, k * 1000 + 1000)) for k in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        fill(4000, 8192)
        free.append(len(added))
        for number in added:
            lib.bl_guard_remove(places + number)
        added.clear()
    assert set(free) == {free[0]}
