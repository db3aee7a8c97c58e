"""Looks at cache directories from outside, and empties them."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from dedupe.errors import CacheInUse
from dedupe.store import identity as identities
from dedupe.store import journal as journals
from dedupe.store.files import Files
from dedupe.store.ledger import Ledger, Record, Role
from dedupe.store.store import JOURNALS, LOCK, RINGS

# In the order in which they go: without the identity the rest counts for nothing, should that be interrupted.
NAMES = (identities.NAME, *JOURNALS.values(), *RINGS.values(), LOCK)


@dataclass(frozen=True, slots=True)
class LogReport:
    """log: written (by this box) or received. capacity, held, verified, damaged: bytes. clean: closed in good order.

    verified and damaged are 0 unless the bytes were read. problem: why it cannot be used, or empty.
    """

    log: str
    capacity: int
    held: int
    clean: bool
    verified: int
    damaged: int
    problem: str


@dataclass(frozen=True, slots=True)
class CacheReport:
    """One cache: whose it is, how often it was opened, whether a process has it open, bytes of disk that it takes."""

    directory: str
    box: str
    peer: str
    channel: int
    domain: int
    incarnation: int
    in_use: bool
    disk: int
    logs: tuple[LogReport, ...]
    problem: str


def inspect(directory: Path, *, peer: str | None = None, verify: bool = False) -> list[CacheReport]:
    """All caches under `directory` (of one peer), also those in use; nothing is changed.

    verify: read all that is held and compare its checksums; this takes as long as the disk needs. OSError.
    """
    return [_report(place, verify) for place in places(directory, peer)]


def clear(directory: Path, *, peer: str | None = None) -> list[Path]:
    """Delete all caches under `directory` (of one peer) and return where they were.

    CacheInUse if a process has one open: then nothing was deleted. OSError.
    """
    found = list(places(directory, peer))
    delete(found)
    return found


def delete(directories: Iterable[Path]) -> None:
    """Delete these caches. CacheInUse if a process has one open: then nothing was deleted. OSError."""
    found = list(directories)
    files = Files()
    with ExitStack() as locks:
        for place in found:
            lock = files.open(place / LOCK)
            locks.callback(lock.close)
            if not lock.lock():
                raise CacheInUse(f"{place} is in use; stop the daemon first")
        for place in found:
            for name in NAMES:
                (place / name).unlink(missing_ok=True)
            with suppress(OSError):  # there is something else in it
                place.rmdir()
                place.parent.rmdir()


def places(directory: Path, peer: str | None) -> Iterator[Path]:
    """The directories of all caches (of one peer), those that nobody has finished making or clearing as well."""
    try:
        peers = sorted(directory.iterdir())  # glob would take what may not be read for empty
    except FileNotFoundError:
        return
    for owner in peers:
        if peer is None or owner.name == peer:
            for found in sorted(owner.glob("channel-*-domain-*")):
                if any((found / name).exists() for name in NAMES):
                    yield found


def _report(place: Path, verify: bool) -> CacheReport:
    in_use = _in_use(place)
    disk = 0
    for path in place.iterdir():
        with suppress(FileNotFoundError):  # its owner has just replaced it
            disk += path.stat().st_blocks * 512
    try:
        whose = identities.load(place)
    except ValueError as error:
        whose, problem = None, str(error)
    else:
        problem = "" if whose else "it was never made or never cleared whole; clear it"
    if whose is None:
        return CacheReport(str(place), "", place.parent.name, 0, 0, 0, in_use, disk, (), problem)
    logs = tuple(_log(place, role, whose.cache, verify, in_use) for role in Role)
    return CacheReport(
        str(place),
        whose.box,
        whose.peer,
        whose.channel,
        whose.domain,
        whose.incarnation,
        in_use,
        disk,
        logs,
        "",
    )


def _in_use(place: Path) -> bool:
    if not (place / LOCK).exists():
        return False
    lock = Files().open(place / LOCK)
    try:
        return lock.locked()
    finally:
        lock.close()


def _log(place: Path, role: Role, cache: int, verify: bool, in_use: bool) -> LogReport:
    name = role.name.lower()
    try:
        capacity = (place / RINGS[role]).stat().st_size
        header = journals.read_header(place / JOURNALS[role])
        if header.cache != cache:
            raise ValueError("the journal belongs to another cache")
        if capacity != header.slots << header.bits:
            raise ValueError(f"{RINGS[role]} has {capacity} bytes, not {header.slots << header.bits}")
        ledger = journals.load(Files(), place / JOURNALS[role], header).ledger
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        empty = role is Role.RECEIVED and missing == JOURNALS[role]  # nothing was received yet
        return LogReport(name, 0, 0, True, 0, 0, "" if empty else f"{missing} is missing")
    except ValueError as error:
        return LogReport(name, capacity, 0, False, 0, 0, str(error))
    records = ledger.held()
    held = sum(record.length for record in records)
    verified = damaged = 0
    if verify:
        checked = [record for record in records if not in_use or not _may_change(record, ledger)]
        verified, damaged = _check(place / RINGS[role], checked, header.epoch, capacity)
    return LogReport(name, capacity, held, ledger.closed is not None, verified, damaged, "")


def _may_change(record: Record, ledger: Ledger) -> bool:
    """Whether a process that writes this log may be about to write over the record's bytes."""
    size = ledger.slots << ledger.bits
    return record.offset < ledger.newest_end() - size // 2  # far more than it may be ahead of its journal


def _check(ring: Path, records: list[Record], epoch: int, size: int) -> tuple[int, int]:
    verified = damaged = 0
    with ring.open("rb", buffering=0) as file:
        for record in records:
            try:
                file.seek(record.offset % size)
                data = file.read(record.length)
            except OSError:
                data = b""
            if len(data) == record.length and xxhash.xxh3_64_intdigest(data, epoch) == record.hash:
                verified += record.length
            else:
                damaged += record.length
    return verified, damaged
