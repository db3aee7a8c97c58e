"""A bundle: the directory's system as it leaves the build host, signed, in a directory of files.

`manifest.json` says what the other files are, to the byte; `manifest.json.sig` is its signature. The rest: `system`
(a disk that is only read), `vmlinuz` and `initrd`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec

from vmhost import durable
from vmhost.directory import signing
from vmhost.errors import VmError
from vmhost.recipe import Arch
from vmhost.values import GIB, show_size

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"
FILES = ("system", "vmlinuz", "initrd")
FORMAT = 1
_LARGEST_MANIFEST = 2**20
_PIECE = 2**20

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Progress = Callable[[float], None]


class File(msgspec.Struct, frozen=True):
    """One file of a bundle."""

    size: Annotated[int, msgspec.Meta(ge=1, le=8 * GIB)]
    sha256: Sha256


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is."""

    format: int = FORMAT
    kind: Literal["directory"] = "directory"
    version: Annotated[str, msgspec.Meta(pattern="^[0-9]{8}T[0-9]{6}Z$")]
    """When it was made, UTC: of two bundles the later one is newer."""
    arch: Arch
    debian: str
    """Codename of the release that its packages are of."""
    kernel_arguments: str
    packages: Mapping[str, str]
    """Version by name."""
    files: Mapping[str, File]


def write(directory: Path, manifest: Manifest, key: Path) -> None:
    """Describe and sign the files that are in `directory`."""
    content = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)
    (directory / SIGNATURE).write_bytes(signing.sign(content, key))
    (directory / MANIFEST).write_bytes(content)


def measure(path: Path) -> File:
    """Size and digest of a file."""
    with path.open("rb") as file:
        return File(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def read(directory: Path, trusted: Iterable[signing.BundleKey]) -> Manifest:
    """What the bundle in `directory` says of itself; VmError unless a trusted key has signed it.

    Its other files are not looked at: `take` does.
    """
    content, signature = (_small(directory / name) for name in (MANIFEST, SIGNATURE))
    if not signing.is_signed(content, signature, trusted):
        raise VmError(
            "refused",
            f"{directory} is not signed by a key that this box trusts; "
            "write the public key of its build host to `vm.trusted_keys` if you do",
        )
    manifest = _decoded(content, directory)
    if manifest.format != FORMAT or set(manifest.files) != set(FILES):
        raise VmError(
            "refused", f"{directory / MANIFEST}: format {manifest.format} is not known here; update this box"
        )
    return manifest


def taken(directory: Path) -> Manifest:
    """What the bundle that `take` has put into `directory` is; its signature was looked at then."""
    return _decoded(_small(directory / MANIFEST), directory)


def size(manifest: Manifest) -> int:
    """Bytes of all its files."""
    return sum(file.size for file in manifest.files.values())


def take(source: Path, manifest: Manifest, target: Path, progress: Progress) -> None:
    """Copy the files of the bundle in `source`, which `read` gave `manifest` of, to the new directory `target`.

    VmError if one of them is not what the manifest says; then `target` is not there.
    """
    half = target.with_name(f"{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o711)
    done, whole = 0, size(manifest)
    try:
        for name in FILES:
            done = _take(
                source / name, manifest.files[name], half / name, lambda n: progress(n / whole), done
            )
        content, signature = (_small(source / name) for name in (MANIFEST, SIGNATURE))
        if (
            _decoded(content, source) != manifest
        ):  # what is kept is what was signed, whoever can write to `source`
            raise VmError("refused", f"{source} has changed while it was read; copy the bundle again")
        durable.replace(half / MANIFEST, content)
        durable.replace(half / SIGNATURE, signature)
        half.rename(target)
        durable.sync(target.parent)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def _decoded(content: bytes, directory: Path) -> Manifest:
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise VmError("refused", f"{directory / MANIFEST} is of another release: {error}") from None


def _take(source: Path, said: File, target: Path, progress: Callable[[int], None], done: int) -> int:
    digest, left = hashlib.sha256(), said.size
    with _open(source) as old, target.open("xb") as new:
        while piece := old.read(_PIECE):
            left -= len(piece)
            if left < 0:
                break
            digest.update(piece)
            new.write(piece)
            done += len(piece)
            progress(done)
        if left != 0 or digest.hexdigest() != said.sha256:
            raise VmError(
                "refused",
                f"{source} is not the file of {show_size(said.size)} that was signed; copy the bundle again",
            )
        new.flush()
        os.fsync(new.fileno())
    return done


def _small(path: Path) -> bytes:
    with _open(path) as file:
        content = file.read(_LARGEST_MANIFEST + 1)
    if len(content) > _LARGEST_MANIFEST:
        raise VmError("refused", f"{path} is larger than {show_size(_LARGEST_MANIFEST)}; is it a bundle?")
    return content


def _open(path: Path) -> BinaryIO:
    """A file that is one: what is no regular file could keep us waiting for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise VmError("refused", f"{path}: {error.strerror}; name the directory of a bundle") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise VmError("refused", f"{path} is no file; name the directory of a bundle")
    return open(descriptor, "rb")
