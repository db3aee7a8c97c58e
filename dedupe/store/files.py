"""What the store asks of a file system. A test that cuts the power puts its own Files in place of this one."""

import fcntl
import os
import struct
from pathlib import Path

MODE, DIRECTORY_MODE = 0o600, 0o700
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock: type, whence, start, length (0: all), pid


def _lock(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


class File:
    """An open file that is written at given places. Every method may raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def inode(self) -> int:
        return os.fstat(self.descriptor).st_ino

    def allocate(self, size: int) -> None:
        """Exactly `size` bytes, with room for all of them on the disk (ENOSPC now rather than later)."""
        os.ftruncate(self.descriptor, size)
        os.posix_fallocate(self.descriptor, 0, size)

    def read(self, at: int, length: int) -> bytes:
        """Fewer bytes than asked for only at the end of the file."""
        data = os.pread(self.descriptor, length, at)
        while data and len(data) < length:
            more = os.pread(self.descriptor, length - len(data), at + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, at: int, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self.descriptor, rest, at)
            rest, at = rest[done:], at + done

    def sync(self) -> None:
        """What was written survives a power cut from now on."""
        os.fdatasync(self.descriptor)

    def lock(self) -> bool:
        """For this opening alone, until it is closed. False if another one has it."""
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def locked(self) -> bool:
        """Whether another opening has it. Looking does not get in anybody's way."""
        answer = fcntl.fcntl(self.descriptor, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        os.close(self.descriptor)


class Files:
    """Opens and replaces files; all of them for their owner only."""

    def make_directory(self, path: Path) -> None:
        """With its parents, each as private as a directory may be."""
        for part in (*reversed(path.parents), path):
            if not part.exists():
                part.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
                self.sync_directory(part.parent)
        path.chmod(DIRECTORY_MODE)

    def open(self, path: Path) -> File:
        """For reading and writing; made if it is not there."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, MODE)
        os.fchmod(descriptor, MODE)
        return File(descriptor)

    def replace(self, path: Path, data: bytes) -> None:
        """The file holds all of the old bytes or all of `data`, whenever the power fails; `data` after this."""
        fresh = path.with_name(path.name + ".new")
        file = self.open(fresh)
        try:
            os.ftruncate(file.descriptor, 0)
            file.write(0, data)
            os.fsync(file.descriptor)
        finally:
            file.close()
        os.replace(fresh, path)
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        """Names that were made or replaced in it survive a power cut from now on."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
