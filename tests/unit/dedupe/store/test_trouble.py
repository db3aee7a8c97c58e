"""A disk that fails while traffic goes on."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from dedupe import BadBlock, Effort
from dedupe.store.files import File
from tests.unit.dedupe.corpus import NOISE
from tests.unit.dedupe.store.boxes import ALL, CAPACITY, PIECES, Box, exchange, kinds, restart


def test_writing_fails_and_works_again(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    for box in boxes:
        box.files.failing = errno.EIO
    raw = NOISE[30_000::-1]
    block = sender.cache.encode(raw, effort=Effort.RAW)
    assert receiver.cache.decode(block.wire, limit=len(raw)) == raw
    sender.cache.acknowledge(block)
    assert not sender.cache.sync()
    assert not sender.cache.sync()
    found = sender.cache.findings()
    assert kinds(found) == ["cache.disk"]
    assert os.strerror(errno.EIO) in found[0].text
    assert exchange(*boxes) == ALL
    sender.files.failing = None
    sender.cache.sync()
    assert [finding.severity for finding in sender.cache.findings()] == ["info"]
    sender.files.cut()
    sender.reopen()
    assert sender.cache.stats().written_log == 0
    assert sender.cache._mine.held[-1][1] == ALL + block.logged


def test_a_dead_disk_ends_the_lease_but_not_the_traffic(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    sender.files.failing = errno.ENOSPC
    stored = 0
    for number in range(40):
        raw = bytes([number]) * 7 + NOISE[number * 100 :][:10_000]
        block = sender.cache.encode(raw, effort=Effort.RAW, literal=True)
        assert receiver.cache.decode(block.wire, limit=1 << 20) == raw
        sender.cache.acknowledge(block)
        sender.cache.sync()
        receiver.cache.sync()
        stored += block.logged
    assert 0 < stored <= sender.cache._mine.leased
    assert block.logged == 0
    assert sender.cache.room() == CAPACITY  # nobody waits for a lease that does not come
    sender.files.failing = None
    sender.cache.sync()
    assert sender.cache.encode(raw, effort=Effort.RAW, literal=True).logged == len(raw)


def test_a_lease_is_waited_for_while_the_disk_answers(boxes: tuple[Box, Box]) -> None:
    cache = boxes[0].cache
    raw = NOISE[:10_000]
    while cache.room() >= len(raw):
        cache.acknowledge(cache.encode(raw, effort=Effort.RAW, literal=True))
    assert cache.wants_sync
    cache.set_aside()
    assert cache.room() == CAPACITY
    cache.bring_back()
    cache.sync()
    cache.sync()
    assert len(raw) < cache.room() < CAPACITY


def test_what_is_saved_while_the_disk_is_set_aside_stays_in_memory(
    boxes: tuple[Box, Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was being saved when the disk began to hang; now it is no reason to read from it."""
    sender, _ = boxes
    log = sender.cache._mine
    disk = log._disk  # type: ignore[attr-defined]
    raw = NOISE[50_000::-1]
    sender.cache.acknowledge(sender.cache.encode(raw, effort=Effort.RAW))
    sync = File.sync

    def hang(file: File) -> None:
        if file is disk.file:
            sender.cache.set_aside()
        sync(file)

    monkeypatch.setattr(File, "sync", hang)
    sender.cache.sync()
    in_memory = {fresh.segment for fresh in disk.tail}
    for start, end in log.held:
        assert {start >> disk.bits, end - 1 >> disk.bits} <= in_memory
    assert log.held


def test_unreadable_pages_cost_a_block_twice(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    restart(boxes)
    ring = receiver.directory / "received.ring"
    size = ring.stat().st_size
    os.truncate(ring, 0)  # every page that is read now raises SIGBUS
    refused = 0
    for piece in PIECES:
        sender.cache.sync()  # a lease
        block = sender.cache.encode(piece, effort=Effort.FAST)
        try:
            assert receiver.cache.decode(block.wire, limit=len(piece)) == piece
        except BadBlock:
            refused += 1
            sender.cache.reject(block)
            block = sender.cache.encode(piece, effort=Effort.FAST, literal=True)
            assert receiver.cache.decode(block.wire, limit=len(piece)) == piece
        sender.cache.acknowledge(block)
    assert refused > 0
    os.truncate(ring, size)
    receiver.cache.sync()
    assert "cache.dropped" in kinds(receiver.cache.findings())
    assert exchange(*boxes) == ALL  # the second copies


def test_a_disk_set_aside_is_not_read_and_comes_back(boxes: tuple[Box, Box]) -> None:
    restart(boxes)
    for box in boxes:
        box.cache.set_aside()
        assert box.cache._mine.held == box.cache._theirs.held == ()
        os.truncate(box.directory / "written.ring", 0)  # who reads it now reads zeros, and is found out
        os.truncate(box.directory / "received.ring", 0)
    assert exchange(*boxes) == 0
    assert exchange(*boxes) == ALL  # what has passed since is in memory
    for box in boxes:
        while box.cache.sync():
            pass
        box.cache.bring_back()
        assert box.cache.findings() == []
        assert box.cache._mine.held or box.cache._theirs.held
    assert exchange(*boxes) == ALL


def test_only_one_side_sets_its_disk_aside(boxes: tuple[Box, Box]) -> None:
    sender, receiver = boxes
    restart(boxes)
    receiver.cache.set_aside()
    for piece in PIECES:
        block = sender.cache.encode(piece, effort=Effort.FAST)
        with pytest.raises(BadBlock):
            receiver.cache.decode(block.wire, limit=len(piece))
        sender.cache.reject(block)
        sender.cache.sync()
        block = sender.cache.encode(piece, effort=Effort.FAST, literal=True)
        assert receiver.cache.decode(block.wire, limit=len(piece)) == piece
        sender.cache.acknowledge(block)
    assert exchange(*boxes) == ALL


def test_saving_beside_traffic(boxes: tuple[Box, Box]) -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def save(box: Box) -> None:
        try:
            while not done.is_set():
                box.cache.sync(1 << 14)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=save, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    try:
        for number in range(60):
            raw = NOISE[number * 331 : number * 331 + 30_000][:: 1 if number % 3 else -1]
            for sender, receiver in (boxes, boxes[::-1]):
                block = sender.cache.encode(raw, effort=Effort.RAW)
                assert receiver.cache.decode(block.wire, limit=len(raw)) == raw
                sender.cache.acknowledge(block)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert errors == []
