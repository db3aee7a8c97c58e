"""What a hypervisor exported: an OVA (a tar file) or a description with its files beside it, read without trust."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from vmhost.errors import VmError

MOST_FILES = 64
_LONGEST_READ = 2 * 2**20
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"\x28\xb5": "zstd -d", b"BZ": "bunzip2", b"\xfd7": "unxz"}


class Package(Protocol):
    """Plain files, none in a directory."""

    files: dict[str, int]
    """Bytes of each, by its name."""

    def open(self, name: str) -> IO[bytes]:
        """One of `files`, to be read from its beginning."""
        ...


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Package]:
    """The package at `path`: an OVA, or the description (.ovf) of one whose files lie beside it.

    VmError for one that is dangerous or none, OSError and tarfile.TarError as they come.
    """
    if path.suffix.lower() == ".ovf":
        yield _Folder(path)
        return
    with path.open("rb") as file:
        if (tool := _COMPRESSED.get(file.read(2))) is not None:
            raise VmError("refused", f"it is compressed as a whole; `{tool}` it first")
        file.seek(0)
        try:
            with tarfile.open(fileobj=_Sparing(file), mode="r:") as archive:
                yield _Tar(archive)
        except (EOFError, RecursionError) as error:  # headers of headers of headers
            raise VmError("refused", f"it is no OVA: {error}") from None


class _Sparing(io.BufferedIOBase):
    """A file of which nobody reads much in one go: tarfile keeps a header in memory, whatever its length."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_READ:
            raise VmError("refused", "there is a header in it that is no header")
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0, /) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        while (member := archive.next()) is not None:
            if not member.isfile():
                raise VmError("refused", f"{member.name!r} is not a plain file beside the description")
            _check_name(member.name)
            if member.name in self._members:
                raise VmError("refused", f"{member.name!r} is in it twice")
            self._members[member.name] = member
            if len(self._members) > MOST_FILES:
                raise VmError("refused", f"there are more than {MOST_FILES} files in it")
        self.files = {name: member.size for name, member in self._members.items()}

    def open(self, name: str) -> IO[bytes]:
        file = self._archive.extractfile(self._members[name])
        assert file is not None
        return file


class _Folder:
    def __init__(self, description: Path) -> None:
        self._folder = description.parent
        self.files = {}
        # Whatever else lies there does not belong to it.
        own = (description.name, description.with_suffix(".mf").name)
        for entry in os.scandir(self._folder):
            other = Path(entry.name).suffix.lower() in (".ovf", ".mf") and entry.name not in own
            if entry.is_file(follow_symlinks=False) and entry.name.isprintable() and not other:
                self.files[entry.name] = entry.stat().st_size

    def open(self, name: str) -> IO[bytes]:
        file = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise VmError("refused", f"{name!r} is not a plain file")
        return os.fdopen(file, "rb")


def _check_name(name: str) -> None:
    """VmError unless a file may be called so, and a recipe can name it."""
    if "/" in name or name.startswith(".") or not name.isprintable():
        raise VmError("refused", f"{name!r} is not a plain file beside the description")
