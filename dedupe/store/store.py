"""The directory of one cache: two logs, whose they are, and that nobody else uses them."""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dedupe.errors import CacheInUse, StoreError
from dedupe.offer import disk_epoch
from dedupe.ranges import total
from dedupe.store import identity as identities
from dedupe.store import journal as journals
from dedupe.store.disklog import DiskLog, Quiesce
from dedupe.store.files import File, Files
from dedupe.store.finding import Finding
from dedupe.store.identity import Identity
from dedupe.store.journal import Journal
from dedupe.store.kept import Losses
from dedupe.store.ledger import Header, Role
from dedupe.store.ring import DiskRing, Shape

LOCK = "lock"
RINGS = {Role.WRITTEN: "written.ring", Role.RECEIVED: "received.ring"}
JOURNALS = {Role.WRITTEN: "written.journal", Role.RECEIVED: "received.journal"}

Learn = Callable[[Role, int, bytes], None]


@dataclass(frozen=True, slots=True)
class Owner:
    """Which traffic a cache is for. box is this side, peer the other."""

    box: str
    peer: str
    channel: int = 0
    domain: int = 0

    def directory(self, root: Path) -> Path:
        for name in (self.box, self.peer):
            if not name or "/" in name or name in (".", ".."):
                raise ValueError(f"{name!r} cannot name a box")
        return root / self.peer / f"channel-{self.channel}-domain-{self.domain}"


class Store:
    """Opened by its constructor, which locks it. One thread at a time calls sync and close."""

    def __init__(
        self, directory: Path, owner: Owner, *, capacity: int, gap: int, files: Files | None = None
    ) -> None:
        """CacheInUse if another process has it open; StoreError if the disk does not want it."""
        self.directory = directory
        self._files, self._owner = files or Files(), owner
        self._findings: list[Finding] = []
        self._failing = False
        self._late = False
        self._shape = Shape.of(capacity, gap)
        try:
            with ExitStack() as undo:
                self._files.make_directory(directory)
                self._lock(undo)
                rings = {role: self._ring(role, undo) for role in Role}
                known = self._identify(rings)
                self.written, self.received = (
                    self._log(role, rings[role], known, capacity, gap, undo) for role in Role
                )
                undo.pop_all()
        except OSError as error:
            raise StoreError(_explain(directory, error, 2 * self._shape.size)) from error

    @property
    def wants_sync(self) -> bool:
        return not self._failing and (self.written.wants_save or self.received.wants_save)

    @property
    def unverified(self) -> int:
        """Bytes from before the start that are still to be read back."""
        return self.written.unverified + self.received.unverified

    def sync(self, budget: int, quiesce: Quiesce) -> bool:
        """Save about `budget` bytes of each log. True if there is more. Never raises OSError: that is a finding."""
        more = False
        try:
            for log in (self.written, self.received):
                more |= log.save(budget, quiesce)
        except OSError as error:
            if not self._failing:
                self._failing = True
                text = f"{self.directory}: {error.strerror}; new bytes stay in memory and will not survive a restart"
                self._tell("cache.disk", "error", text, {"errno": error.errno or 0})
        else:
            if self._failing:
                self._failing = False
                self._tell("cache.disk", "info", f"{self.directory}: the disk works again", {})
        self._tell_losses()
        return more and not self._failing

    def set_aside(self) -> None:
        """The disk does not answer: what is on it alone is not to be read. Any thread."""
        for log in (self.written, self.received):
            log.set_aside()

    def bring_back(self) -> None:
        """The disk answers again. Any thread."""
        for log in (self.written, self.received):
            log.bring_back()

    def verify(self, budget: int, learn: Learn) -> bool:
        """Read back about `budget` bytes of what an earlier process left. True if there is more."""
        log = max(self.written, self.received, key=lambda log: log.unverified)
        log.verify(budget, partial(learn, log.role))
        more = self.unverified > 0
        self._tell_losses()
        return more

    def findings(self) -> list[Finding]:
        """What has happened since the last call."""
        found, self._findings = self._findings, []
        return found

    def close(self, quiesce: Quiesce) -> None:
        """Nobody encodes or decodes any more. What cannot be saved is a finding, and the next start a recovery."""
        for log in (self.written, self.received):
            try:
                log.close(quiesce)
            except OSError as error:
                text = f"{self.directory}: {error.strerror} while closing; it will start as after a crash"
                self._tell("cache.disk", "error", text, {"errno": error.errno or 0})
        self._tell_losses()
        self._lock_file.close()

    # Opening. `undo` takes back what was opened and made, should it come to nothing.

    def _lock(self, undo: ExitStack) -> None:
        path = self.directory / LOCK
        self._lock_file = self._files.open(path)
        undo.callback(self._lock_file.close)
        if not self._lock_file.lock():
            other = self._lock_file.read(0, 32).decode(errors="replace").strip() or "unknown"
            raise CacheInUse(
                f"{self.directory} is in use by process {other}; stop it, or give this one a state_dir of its own"
            )
        if path.stat().st_ino != self._lock_file.inode():  # whoever comes next would lock another file
            raise CacheInUse(f"{self.directory} has just been cleared; try again")
        self._lock_file.write(0, f"{os.getpid():<31}\n".encode())

    def _ring(self, role: Role, undo: ExitStack) -> File:
        path = self.directory / RINGS[role]
        if not path.exists():
            undo.callback(path.unlink, missing_ok=True)
        file = self._files.open(path)
        undo.callback(file.close)
        if file.size() != self._shape.size:
            file.allocate(self._shape.size)
            file.sync()
        return file

    def _identify(self, rings: dict[Role, File]) -> bool:
        """Whether what is here belongs to this cache. From now on it does."""
        inodes = (rings[Role.WRITTEN].inode(), rings[Role.RECEIVED].inode())
        owner = self._owner
        names = (owner.box, owner.peer, owner.channel, owner.domain)
        why, found = "", None
        try:
            found = identities.load(self.directory)
        except ValueError as error:
            why = f"it cannot be told whose it was ({error})"
        if found is None:
            why = why or "it is new"
        elif found.names() != names:
            why = f"it belonged to box {found.box} with peer {found.peer}"
        elif found.rings() != inodes:
            why = "it was copied, restored or partly deleted"
        if why:
            severity = "info" if found is None and why == "it is new" else "warning"
            self._tell("cache.new", severity, f"{self.directory} starts empty: {why}", {})
        keep = found if not why else None
        self._identity = Identity(
            *names,
            cache=keep.cache if keep else identities.fresh_number(),
            written=inodes[0],
            received=inodes[1],
            incarnation=(found.incarnation if found else 0) + 1,
        )
        identities.save(self._files, self.directory, self._identity)
        self._files.sync_directory(self.directory)
        return keep is not None

    def _log(self, role: Role, file: File, known: bool, capacity: int, gap: int, undo: ExitStack) -> DiskLog:
        journal = self._journal(role, known)
        undo.callback(journal.close)
        ring = DiskRing(file, self._shape)
        undo.callback(ring.mapping.close)
        log = DiskLog(ring, journal, capacity, gap)
        left = total(log.held)
        if known and left:
            ended = "after an orderly stop" if journal.ledger.closed is not None else "after an unclean stop"
            evidence: dict[str, int | str] = {"bytes": left, "log": role.name.lower()}
            self._tell("cache.recovered", "info", f"{self.directory}: {left} bytes found {ended}", evidence)
        log.begin_use()
        return log

    def _journal(self, role: Role, known: bool) -> Journal:
        path = self.directory / JOURNALS[role]
        header = Header(self._identity.cache, 0, role, self._shape.bits, self._shape.slots)
        if known:
            try:
                return journals.load(self._files, path, header)
            except FileNotFoundError:
                why = "is missing"
            except ValueError as error:
                why = f"cannot be used: {error}"
            if role is Role.WRITTEN or why != "is missing":
                text = f"{path} {why}; this log starts empty"
                self._tell("cache.dropped", "warning", text, {"log": role.name.lower()})
        epoch = disk_epoch() if role is Role.WRITTEN else 0
        return journals.start(self._files, path, Header(header.cache, epoch, role, header.bits, header.slots))

    # Telling.

    def _tell(self, kind: str, severity: str, text: str, evidence: dict[str, int | str]) -> None:
        self._findings.append(Finding(kind, severity, text, {**evidence, "peer": self._owner.peer}))

    def _tell_losses(self) -> None:
        for log in (self.written, self.received):
            losses, log.losses = log.losses, Losses()
            name = log.role.name.lower()
            for count, why in (
                (losses.damaged, "did not pass their check"),
                (losses.unreadable, "cannot be read"),
            ):
                if count:
                    text = f"{self.directory}: {count} bytes of the {name} log {why} and are dropped"
                    self._tell("cache.dropped", "warning", text, {"bytes": count, "log": name})
            if losses.late and not self._late:
                text = f"{self.directory}: the disk does not keep up; the cache keeps less of what passes"
                self._tell("cache.disk", "warning", text, {"bytes": losses.late, "log": name})
            self._late = bool(losses.late) or (self._late and log.wants_save)


def _explain(directory: Path, error: OSError, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{directory}: no room for {size} bytes of chunk cache; free some, or make the peer's cache smaller"
    return f"{directory}: {error.strerror or error}; the chunk cache cannot be kept there"
