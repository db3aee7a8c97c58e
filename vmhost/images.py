"""Disk images: looked at without trust, copied into qcow2. All by qemu-img, in processes of their own with limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vmhost import durable
from vmhost.errors import VmError
from vmhost.processes import launch
from vmhost.recipe import MOST_DISK
from vmhost.values import GIB, show_size

RESERVE = GIB
"""Bytes of disk that are left to the router."""

_KNOWN = {"qcow2", "raw", "vmdk", "vhdx"}
_LOOK_S = 60.0
_PIECE, _MOST_PIECES = GIB, 256
"""A copy that was cut off goes on at the last of its pieces."""
# An image from somewhere may be made to cost time and memory just by being looked at.
_LIMITS = ("prlimit", f"--as={GIB}", "--cpu=30", "nice", "-n", "10")
# A copy must not go on writing when nobody waits for it any more.
_OURS = ("setpriv", "--pdeathsig", "KILL")
_PROGRESS = re.compile(rb"\(\s*([0-9.]+)/100%\)")


@dataclass(frozen=True)
class Image:
    """A file, its format as qemu-img names it, and bytes that its guest sees."""

    path: Path
    format: str
    virtual_size: int


class _Info(msgspec.Struct):
    format: str
    virtual_size: int = msgspec.field(name="virtual-size")
    backing: str | None = msgspec.field(name="backing-filename", default=None)
    specific: dict[str, object] = msgspec.field(name="format-specific", default={})


async def look(path: Path) -> Image:
    """What the image at `path` is. VmError if it is none, or one whose content is in other files."""
    await asyncio.to_thread(_must_be_a_file, path)
    _, said, wrong = await _output(*_LIMITS, "qemu-img", "info", "--output=json", "--", str(path))
    try:
        info = msgspec.json.decode(said, type=_Info)
    except msgspec.DecodeError:
        raise VmError("refused", f"{path} cannot be read as a disk image: {wrong or 'no answer'}") from None
    if info.format not in _KNOWN:
        raise VmError(
            "refused",
            f"{path} is of the format {info.format}; convert it to one of {', '.join(sorted(_KNOWN))}",
        )
    specific = info.specific.get("data", {})
    data = specific if isinstance(specific, dict) else {}
    flat = info.format == "vmdk" and data.get("create-type") not in ("monolithicSparse", "streamOptimized")
    if info.backing is not None or data.get("data-file") or flat:
        # What such an image names would be read with our rights: /etc/shadow, say.
        raise VmError(
            "refused", f"{path} keeps its content in other files; convert it to one that stands alone"
        )
    if info.virtual_size > MOST_DISK:
        raise VmError(
            "refused",
            f"{path} is a disk of {show_size(info.virtual_size)}; the most is {show_size(MOST_DISK)}",
        )
    return Image(path, info.format, info.virtual_size)


async def new(path: Path, size: int) -> None:
    """Make an empty disk, which nobody but root and the machine can read: passwords may come to be on it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    status, _, wrong = await _output("qemu-img", "create", "-q", "-f", "qcow2", "--", str(path), str(size))
    if status != 0:
        raise VmError("failed", f"{path} cannot be made: {wrong}")


async def copy(
    image: Image,
    path: Path,
    size: int,
    progress: Callable[[int], None],
    *,
    begin: int = 0,
    copied: Callable[[int], None] = lambda _: None,
) -> None:
    """Copy `image` to `path`, and let it be `size` bytes. `progress` is told the bytes of the image that are done.

    The copy is made in pieces; after each, when it is on the disk, `copied` is told where the next begins. That as
    `begin` goes on with a copy that was cut off: what is at `path` is then the work of an earlier call.
    """
    if not begin:
        await new(path, max(size, image.virtual_size))
    piece = max(_PIECE, -(-image.virtual_size // _MOST_PIECES // _PIECE) * _PIECE)
    for at in range(begin, image.virtual_size, piece):
        last = at + piece >= image.virtual_size
        length = image.virtual_size - at if last else piece

        def told(part: float, at: int = at, length: int = length) -> None:
            progress(at + int(part * length))

        await _convert(
            _part(image.path, image.format, at, length, last), _part(path, "qcow2", at, length, last), told
        )
        if not last:
            await asyncio.to_thread(durable.sync, path)
            copied(at + piece)


def _part(path: Path, kind: str, at: int, length: int, last: bool) -> str:
    """A part of an image, in the words of qemu-img's --image-opts; the `last` goes to the image's end."""
    file = str(path).replace(",", ",,")
    below = "file" if kind == "raw" else "file.file"
    inside = "" if kind == "raw" else f",file.driver={kind}"
    bounds = f"offset={at}" if last else f"offset={at},size={length}"
    return f"driver=raw,{bounds}{inside},{below}.driver=file,{below}.filename={file}"


async def _convert(source: str, target: str, progress: Callable[[float], None]) -> None:
    # -t writeback keeps the order of writes in a power cut. The target is new, or has had the same bytes before.
    process = await launch(
        *(*_OURS, "nice", "-n", "10"),
        *("qemu-img", "convert", "-p", "-n", "--target-is-zero", "-t", "writeback"),
        *("--image-opts", "--target-image-opts", source, target),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        while data := await process.stdout.read(4096):
            if found := _PROGRESS.findall(data):
                progress(float(found[-1]) / 100)
        wrong = (await process.stderr.read()).decode(errors="replace").strip()
        status = await process.wait()
    finally:
        await _end(process)
    if status != 0:
        raise VmError("failed", f"a disk cannot be copied: {wrong}")


async def overlay(path: Path, below: Path) -> None:
    """Make a disk that is `below`, a qcow2, until it is written to."""
    status, _, wrong = await _output(
        *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(below), "--", str(path))
    )
    if status != 0:
        raise VmError("failed", f"{path} cannot be made: {wrong}")


async def damage(path: Path) -> str:
    """What qemu-img finds wrong with a qcow2; empty if nothing, but space that is lost."""
    status, said, wrong = await _output("qemu-img", "check", "-q", "-f", "qcow2", "--", str(path))
    return "" if status in (0, 3) else wrong or said.decode(errors="replace").strip() or "unreadable"


async def is_sound(path: Path) -> bool:
    """Whether a qcow2 whose writer was killed can be gone on with."""
    return (await _output("qemu-img", "check", "-q", "-r", "leaks", "-f", "qcow2", "--", str(path)))[0] == 0


def _must_be_a_file(path: Path) -> None:
    if not path.is_file():
        raise VmError("refused", f"{path} is no file; name a disk image")


async def _output(*command: str) -> tuple[int, bytes, str]:
    """A command's exit status, and what it says on standard output and on standard error."""
    process = await launch(*command)
    try:
        async with asyncio.timeout(_LOOK_S):
            said, wrong = await process.communicate()
    except TimeoutError:
        raise VmError("failed", f"{command[-1]}: it takes longer than {_LOOK_S:g} s") from None
    finally:
        await _end(process)
    return process.returncode or 0, said, wrong.decode(errors="replace").strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
