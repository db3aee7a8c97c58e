"""What a cache finds when it is opened again, and what it says."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from dedupe import (
    IN_MEMORY,
    Cache,
    CacheInUse,
    Effort,
    OfferError,
    StoreError,
    clear,
    inspect,
    machine_memory,
)
from dedupe.offer import LARGEST_OFFSET, pack, parse
from dedupe.store.files import File, Files
from tests.unit.dedupe.corpus import NOISE, meet
from tests.unit.dedupe.store.boxes import ALL, CAPACITY, PIECES, Box, exchange, kinds, opened
from tests.unit.dedupe.store.reading import agreed


@pytest.mark.parametrize("how", ["stop", "kill", "cut"])
def test_it_is_warm_again(boxes: tuple[Box, Box], how: str) -> None:
    for box in boxes:
        if how == "stop":
            box.cache.close()
        (box.files.cut if how == "cut" else box.files.kill)()
        assert kinds(box.reopen()) == ["cache.recovered"]
    meet(boxes[0].cache, boxes[1].cache)
    assert sum(end - start for start, end in agreed(boxes[0].cache, boxes[1].cache)) == ALL
    assert exchange(*boxes) == exchange(boxes[1], boxes[0]) == ALL


def test_what_was_not_saved_is_a_hole_on_both_sides(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    more = bytes(reversed(NOISE[:20_000]))
    block = sender.cache.encode(more, effort=Effort.RAW)
    assert receiver.cache.decode(block.wire, limit=len(more)) == more
    receiver.files.cut()
    receiver.reopen()
    meet(sender.cache, receiver.cache)
    again = sender.cache.encode(more, effort=Effort.RAW)
    assert again.copied == 0
    assert exchange(*boxes) == ALL


def test_offsets_are_not_used_twice(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    block = sender.cache.encode(bytes(5000), effort=Effort.RAW)
    sender.files.kill()
    sender.reopen()
    meet(sender.cache, receiver.cache)
    again = sender.cache.encode(NOISE[:5000], effort=Effort.RAW, literal=True)
    assert again.base >= block.base + block.logged
    assert receiver.cache.decode(again.wire, limit=5000) == NOISE[:5000]


def test_without_verification_nothing_is_offered_yet(boxes: tuple[Box, Box]) -> None:
    for box in boxes:
        box.files.kill()
        box.reopen(ready_s=0.0)
        while box.cache.sync(1 << 16):
            pass
    meet(boxes[0].cache, boxes[1].cache)
    assert exchange(*boxes) == ALL


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_cache_that_rests_is_warm_once_it_has_an_index(boxes: tuple[Box, Box], how: str) -> None:
    """Opened without an index it is offered whole; with one it reads what it has not read yet, and only that."""
    for box in boxes:
        if how == "stop":
            box.cache.close()
        box.files.kill()
        box.reopen(index=0)
    meet(boxes[0].cache, boxes[1].cache)
    sender, receiver = boxes
    assert sum(end - start for start, end in agreed(sender.cache, receiver.cache)) == ALL
    for index in (1 << 18, 0, 1 << 18):
        sender.cache.resize(index)
        while sender.cache.sync(30_000):
            pass
    assert exchange(*boxes) == ALL


def test_flipped_bit(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    receiver.files.kill()
    with (receiver.directory / "received.ring").open("r+b") as ring:
        ring.seek(30_000)
        byte = ring.read(1)
        ring.seek(30_000)
        ring.write(bytes([byte[0] ^ 4]))
    found = receiver.reopen()
    assert kinds(found) == ["cache.recovered", "cache.dropped"]
    assert "check" in found[1].text
    meet(sender.cache, receiver.cache)
    agreed(sender.cache, receiver.cache)
    assert 0 < exchange(*boxes) < ALL


@pytest.mark.parametrize(
    "name", ["identity", "lock", "received.journal", "received.ring", "written.journal", "written.ring"]
)
def test_deleted_file(boxes: tuple[Box, Box], name: str) -> None:
    for sender, receiver in (boxes, boxes[::-1]):
        receiver.files.kill()
        (receiver.directory / name).unlink(missing_ok=True)  # who received nothing has no journal of it
        receiver.reopen()
        meet(sender.cache, receiver.cache)
        agreed(sender.cache, receiver.cache)
        exchange(sender, receiver)


@pytest.mark.parametrize("name", ["written.journal", "identity"])
def test_a_huge_file_in_place_of_a_small_one(boxes: tuple[Box, Box], name: str) -> None:
    box = boxes[0]
    box.cache.close()
    (box.directory / name).unlink()
    (box.directory / name).touch()
    os.truncate(box.directory / name, 4 * machine_memory())
    (report,) = inspect(box.root)
    assert report.problem or report.logs[0].problem
    box.reopen()
    assert box.cache.stats().written_log == 0


def test_copied_directory(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    sender.files.kill()
    copy = sender.root.with_name("restored")
    shutil.copytree(sender.root, copy)
    shutil.rmtree(sender.root)
    copy.rename(sender.root)
    found = sender.reopen()
    assert "copied" in found[0].text
    meet(sender.cache, receiver.cache)
    assert exchange(*boxes) == 0


def test_somebody_elses_directory(boxes: tuple[Box, Box]) -> None:
    boxes[0].files.kill()
    found = boxes[0].reopen(name="other")
    assert "box branch" in found[0].text
    meet(boxes[0].cache, boxes[1].cache)
    assert exchange(*boxes) == 0


def test_an_older_state_of_the_same_files(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    sender.cache.close()
    sender.files.kill()
    before = {path: path.read_bytes() for path in sender.directory.iterdir()}
    sender.reopen()
    meet(sender.cache, receiver.cache)
    for number in range(20):
        block = sender.cache.encode(bytes([number]) + NOISE[20_000::-1], effort=Effort.RAW)
        assert receiver.cache.decode(block.wire, limit=1 << 20)
        sender.cache.acknowledge(block)
        sender.cache.sync()
    sender.files.kill()
    for path, content in before.items():
        path.write_bytes(content)
    sender.reopen()
    meet(sender.cache, receiver.cache)
    assert agreed(sender.cache, receiver.cache) == ()
    sender.cache.sync()
    exchange(*boxes)
    assert exchange(*boxes) == ALL


def test_two_processes(boxes: tuple[Box, Box]) -> None:
    box = boxes[0]
    with pytest.raises(CacheInUse, match=str(os.getpid())):
        opened(box.root, box.name, box.peer)


def test_another_size(boxes: tuple[Box, Box]) -> None:
    box = boxes[0]
    box.cache.close()
    cache = opened(box.root, box.name, box.peer, capacity=CAPACITY * 2)
    assert "another size" in cache.findings()[0].text
    cache.close()


def test_private(boxes: tuple[Box, Box]) -> None:
    for path in boxes[0].root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


class FullDisk(Files):
    def open(self, path: Path) -> object:  # type: ignore[override]
        file = super().open(path)

        def allocate(size: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        file.allocate = allocate  # type: ignore[method-assign]
        return file


def test_no_room(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no room for"):
        opened(tmp_path, "a", "b", FullDisk())
    cache = opened(tmp_path, "a", "b")  # nothing is left locked or half made
    cache.close()


def _open_below(directory: Path) -> list[str]:
    """Files that are open; not those of the whole process, of which others may be collected at any moment."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the list itself
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(path for path in found if path.startswith(f"{directory}/"))


def test_an_attempt_that_fails_leaves_nothing_open_or_allocated(
    boxes: tuple[Box, Box], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    box = boxes[0]
    box.cache.close()
    journal = box.directory / "received.journal"
    journal.unlink(missing_ok=True)
    journal.mkdir()
    opened_before = _open_below(box.root)
    with pytest.raises(StoreError):
        opened(box.root, box.name, box.peer)
    assert _open_below(box.root) == opened_before
    assert (box.directory / "written.ring").exists()
    allocate = File.allocate

    def allocate_one(file: File, size: int) -> None:
        if list(tmp_path.glob("full/b/*/received.ring")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(file, size)

    monkeypatch.setattr(File, "allocate", allocate_one)
    with pytest.raises(StoreError, match="no room"):
        opened(tmp_path / "full", "a", "b")
    assert [path.name for path in (tmp_path / "full").rglob("*") if path.is_file()] == ["lock"]


def test_a_directory_cleared_while_it_is_being_opened(
    boxes: tuple[Box, Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the lock of a file that is gone has nothing: the next one would make a new file, and lock that."""
    box = boxes[0]
    box.cache.close()
    lock = File.lock

    def lock_what_is_gone(file: File) -> bool:
        monkeypatch.setattr(File, "lock", lock)
        clear(box.root)
        box.directory.mkdir(parents=True)
        (box.directory / "lock").touch()  # the next one has it already
        return file.lock()

    monkeypatch.setattr(File, "lock", lock_what_is_gone)
    with pytest.raises(CacheInUse, match="cleared"):
        opened(box.root, box.name, box.peer)
    opened(box.root, box.name, box.peer).close()


@pytest.mark.parametrize("number", [-5, 0, 1 << 63, 1 << 70])
def test_an_identity_with_an_impossible_number(boxes: tuple[Box, Box], number: int) -> None:
    box = boxes[0]
    box.cache.close()
    identity = box.directory / "identity"
    whose = msgspec.json.decode(identity.read_bytes())
    identity.write_bytes(msgspec.json.encode(whose | {"cache": number}))
    assert "whose" in box.reopen()[0].text


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_names_stay_in_their_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        opened(tmp_path, "a", name)


@pytest.mark.parametrize("writes", [False, True])
def test_a_head_that_never_was_does_no_lasting_harm(boxes: tuple[Box, Box], writes: bool) -> None:
    sender, receiver = boxes if writes else boxes[::-1]
    offer = parse(sender.cache.offer())
    changed = replace(offer.writes if writes else offer.reads, head=LARGEST_OFFSET, valid=())
    receiver.cache.accept(pack(replace(offer, **{"writes" if writes else "reads": changed})))
    while receiver.cache.sync():
        pass
    receiver.cache.close()
    receiver.files.kill()
    receiver.reopen()
    first_free = boxes[0].cache._mine.head
    for _ in range(2):
        meet(sender.cache, receiver.cache)
        exchange(*boxes)
        for box in boxes:
            while box.cache.sync():
                pass
    assert exchange(*boxes) == ALL
    assert sum(end - start for start, end in agreed(boxes[0].cache, boxes[1].cache)) == ALL
    assert ALL <= first_free <= boxes[0].cache._mine.head < 1 << 30


def test_a_log_in_memory_takes_no_more_than_it_may(tmp_path: Path) -> None:
    kept = opened(tmp_path, "a", "b", capacity=2 * IN_MEMORY)
    memory = Cache(capacity=2 * IN_MEMORY)
    with pytest.raises(OfferError, match="memory"):
        kept.accept(memory.offer())
    meet(kept, Cache(capacity=IN_MEMORY))
    kept.close()


def test_a_peer_without_its_disk_leaves_ours_as_it_was(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    sender.cache.close()
    memory = Cache(capacity=CAPACITY, gap=CAPACITY)
    meet(memory, receiver.cache)
    for _ in range(2):
        block = memory.encode(PIECES[0], effort=Effort.FAST)
        assert receiver.cache.decode(block.wire, limit=len(PIECES[0])) == PIECES[0]
        memory.acknowledge(block)
    assert block.copied == len(PIECES[0])
    while receiver.cache.sync():
        pass
    sender.reopen()
    meet(sender.cache, receiver.cache)
    assert exchange(sender, receiver) == ALL
