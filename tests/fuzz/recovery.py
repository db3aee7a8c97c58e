"""Fuzz target: whatever a crash, a bad disk or a stranger has left in a cache directory, the cache opens and is right.

`python -m tests.fuzz.recovery [libFuzzer options] CORPUS...`, guided by the coverage of dedupe.store (atheris). An
input is a script: what becomes of the identity, the rings and the journals of a sound cache directory. Records may be
any bytes, or sound ones (their checksums fit) that say anything. StoreError is an answer; every other exception, a
wrong byte, and an offset that is used twice are findings.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]
import msgspec

with atheris.instrument_imports(include=["dedupe.store", "dedupe.offer", "dedupe.ranges"]):
    from dedupe import BadBlock, Cache, Effort, StoreError, inspect, open_cache
    from dedupe.store import identity as identities
    from dedupe.store.files import Files
    from dedupe.store.ledger import HEADER_BYTES, Header, Kind, Record, Role, parse_header, parse_records
    from dedupe.store.store import JOURNALS, RINGS

CAPACITY = GAP = 1 << 14
RAW = bytes(range(256)) * 8 + bytes(3000)
MOST_RECORDS = 40
PLACE = Path("channel-0-domain-0")


class Script:
    """Numbers and bytes from the input; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        self._at += length
        return self._data[self._at - length : self._at].ljust(length, b"\0")

    def choose(self, count: int) -> int:
        return self.take(1)[0] % count

    def number(self) -> int:
        """Small, near a segment's edge, or any."""
        kind, value = self.choose(4), int.from_bytes(self.take(8), "little")
        return (value % 256, value % (4 * CAPACITY), (value % 64 << 10) + value % 3, value)[kind]


def opened(root: Path, box: str = "left") -> Cache:
    peer = {"left": "right", "right": "left"}[box]
    place = root / box
    return open_cache(place, box=box, peer=peer, capacity=CAPACITY, gap=GAP, index=1 << 12, ready_s=10)


def exchange(left: Cache, right: Cache) -> None:
    """Both directions; every byte is compared."""
    offers = left.offer(), right.offer()
    left.accept(offers[1])
    right.accept(offers[0])
    for sender, receiver in ((left, right), (right, left)):
        for raw in (RAW, RAW[500:] + b"more", RAW):
            sender.sync()
            block = sender.encode(raw, effort=Effort.FAST)
            try:
                out = receiver.decode(block.wire, limit=len(raw))
            except BadBlock:  # what is damaged is offered until it has been read back
                sender.reject(block)
                block = sender.encode(raw, effort=Effort.FAST, literal=True)
                out = receiver.decode(block.wire, limit=len(raw))
            assert out == raw
            sender.acknowledge(block)


def template() -> Path:
    """Two caches that were closed in good order, with something in all logs."""
    root = Path(tempfile.mkdtemp(prefix="branchline-fuzz-"))
    left, right = opened(root), opened(root, "right")
    exchange(left, right)
    left.close()
    right.close()
    return root


def spoil(place: Path, script: Script) -> None:
    """What the input says happens to the files; the identity fits the rings again, unless it says otherwise."""
    for role in Role:
        journal, ring = place / JOURNALS[role], place / RINGS[role]
        how = script.choose(6)
        if how == 1:
            with journal.open("r+b") as file:
                file.truncate(script.number() % (journal.stat().st_size + 1))
        elif how == 2:
            content = bytearray(journal.read_bytes())
            content[script.number() % len(content)] ^= 1 << script.choose(8)
            journal.write_bytes(content)
        elif how == 3:
            rewrite(journal, script)
        elif how == 4:
            journal.unlink()
        elif how == 5:
            journal.write_bytes(script.take(script.choose(256)))
        how = script.choose(4)
        if how == 1:
            with ring.open("r+b") as file:
                file.seek(script.number() % ring.stat().st_size)
                file.write(script.take(script.choose(64)))
        elif how == 2:
            with ring.open("r+b") as file:
                file.truncate(script.number() % (4 * CAPACITY))
    how = script.choose(4)
    identity = place / identities.NAME
    if how == 1:
        identity.write_bytes(script.take(script.choose(256)))
    elif how == 2:
        identity.unlink()


def rewrite(journal: Path, script: Script) -> None:
    """Sound records that say anything, after those that were there."""
    data = journal.read_bytes()
    old = parse_header(data)
    records = list(parse_records(data, old)) if script.choose(2) else []
    for _ in range(script.choose(MOST_RECORDS)):
        kind = Kind(1 + script.choose(len(Kind)))
        records.append(Record(kind, script.number(), script.number() & 0xFFFFFFFF, script.number()))
    header = old
    if script.choose(4) == 3:
        header = Header(old.cache, script.number(), old.role, script.choose(40), script.number() & 0xFFFFFFFF)
    packed = b"".join(record.pack(header.epoch, number) for number, record in enumerate(records))
    journal.write_bytes(header.pack() + packed)
    assert len(header.pack()) == HEADER_BYTES


def copy(sound: Path, root: Path) -> None:
    """The copies are made to look like the originals, whose rings have other inodes."""
    shutil.copytree(sound, root, dirs_exist_ok=True)
    for box, peer in (("left", "right"), ("right", "left")):
        place = root / box / peer / PLACE
        known = identities.load(place)
        assert known is not None
        inodes = {role.name.lower(): (place / RINGS[role]).stat().st_ino for role in Role}
        identities.save(Files(), place, msgspec.structs.replace(known, **inodes))


SOUND = template()


def one_input(data: bytes) -> None:
    root = Path(tempfile.mkdtemp(prefix="branchline-fuzz-"))
    try:
        copy(SOUND, root)
        spoil(root / "left/right" / PLACE, Script(data))
        try:
            left = opened(root)
        except StoreError:
            return
        right = opened(root, "right")
        exchange(left, right)
        before = left._mine.epoch, left._mine.head
        while left.sync():
            pass
        left.close()
        right.close()
        inspect(root / "left", verify=True)
        left = opened(root)
        assert (left._mine.epoch, left._mine.head) >= before or left._mine.epoch != before[0]
        left.close()
    finally:
        shutil.rmtree(root)


def main() -> None:
    try:
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
    finally:
        shutil.rmtree(SOUND)


if __name__ == "__main__":
    main()
