"""Where backups lie: DIRECTORY/machine/stamp/. One is there when it is whole; what is being written ends in `.part`."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from vmhost import durable
from vmhost.backup.manifest import FILE, LARGEST, Copied, Manifest, Proof, decode, encode, is_stamp
from vmhost.errors import VmError
from vmhost.values import is_name

_PART = ".part"
_PIECE = 2**20


class Shelf:
    """The backups in `directory`. All of it blocks; OSError as it comes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def of(self, name: str, stamp: str) -> Path:
        """The directory of one backup."""
        return self.directory / name / stamp

    def part(self, name: str, stamp: str) -> Path:
        """The directory of one that is being written."""
        return self.directory / name / f"{stamp}{_PART}"

    def begin(self, name: str, now: float) -> str:
        """Make a directory for a backup; returns its stamp."""
        while self.of(name, stamp := stamp_of(now)).exists() or self.part(name, stamp).exists():
            now += 1
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o711)  # QEMU's user finds its own file
        (self.directory / name).mkdir(exist_ok=True, mode=0o711)
        self.part(name, stamp).mkdir(mode=0o711)
        return stamp

    def finish(self, stamp: str, manifest: Manifest) -> Path:
        """From now on the backup is there, also after a power cut."""
        part, whole = self.part(manifest.name, stamp), self.of(manifest.name, stamp)
        durable.replace(part / FILE, encode(manifest))
        for file in part.iterdir():
            file.chmod(0o600)
            durable.sync(file)
        part.chmod(0o700)
        part.rename(whole)
        durable.sync(whole.parent)
        return whole

    def drop(self, name: str, stamp: str) -> None:
        """Delete a backup, or what there is of one that was being written."""
        for path in (self.part(name, stamp), self.of(name, stamp)):
            if path.exists():
                # First it is no backup any more, then it is gone: half a backup is never taken for one.
                doomed = path.with_name(f"{stamp}.gone{_PART}")
                path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.directory / name).rmdir()

    def sweep(self, name: str) -> list[Path]:
        """Delete, and return, what crashes left of backups of a machine, of which none is being written now."""
        found = sorted((self.directory / name).glob(f"*{_PART}"))
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return found

    def names(self) -> list[str]:
        """The machines that have backups here."""
        return sorted(path.name for path in self.directory.glob("*") if is_name(path.name) and path.is_dir())

    def stamps(self, name: str) -> list[str]:
        """The backups of a machine, the oldest first."""
        found = (path.parent.name for path in (self.directory / name).glob(f"*/{FILE}"))
        return sorted(stamp for stamp in found if is_stamp(stamp))

    def add_proof(self, name: str, stamp: str, proof: Proof) -> None:
        """Write down that a backup was tried."""
        path = self.of(name, stamp)
        manifest = read(path)
        added = msgspec.structs.replace(manifest, proofs=[*manifest.proofs, proof])
        durable.replace(path / FILE, encode(added))


def stamp_of(now: float) -> str:
    """What a backup of that moment is called."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def read(path: Path) -> Manifest:
    """Of the backup in the directory `path`; VmError if there is none."""
    try:
        with (path / FILE).open("rb") as file:
            return decode(file.read(LARGEST))
    except OSError as error:
        raise VmError("not_found", f"{path} is no backup ({error.strerror})") from None


def measure(path: Path, progress: Callable[[int], None]) -> Copied:
    """The size and checksum of a file; `progress` is told how many bytes were read since it was told last."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            progress(len(piece))
    return Copied(path.name, size, digest.hexdigest())


def wrong(path: Path, manifest: Manifest, progress: Callable[[int], None]) -> str:
    """What of a backup is not as its manifest says; empty if all is. OSError as it comes."""
    for wanted in manifest.files:
        file = path / wanted.file
        if file.is_symlink() or not file.is_file():
            return f"{wanted.file} is missing"
        if measure(file, progress) != wanted:
            return f"{wanted.file} has changed since the backup was taken"
    return ""
