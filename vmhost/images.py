"""Disk images: looked at without trust, copied into qcow2. All by qemu-img, in processes of their own with limits."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vmhost.errors import VmError
from vmhost.recipe import MOST_DISK
from vmhost.values import GIB, show_size

RESERVE = GIB
"""Bytes of disk that are left to the router."""

_KNOWN = {"qcow2", "raw", "vmdk", "vhdx"}
_LOOK_S = 60.0
# An image from somewhere may be made to cost time and memory just by being looked at.
_LIMITS = ("prlimit", f"--as={GIB}", "--cpu=30", "nice", "-n", "10")
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
    """Make an empty disk."""
    status, _, wrong = await _output("qemu-img", "create", "-q", "-f", "qcow2", "--", str(path), str(size))
    if status != 0:
        raise VmError("failed", f"{path} cannot be made: {wrong}")


async def copy(image: Image, path: Path, size: int, progress: Callable[[float], None]) -> None:
    """Copy `image` to `path`, and let it be `size` bytes. `progress` is told the fraction that is done."""
    command = ("nice", "-n", "10", "qemu-img", "convert", "-p", "-f", image.format, "-O", "qcow2")
    process = await asyncio.create_subprocess_exec(
        *command,
        "--",
        str(image.path),
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
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
        raise VmError("failed", f"{image.path} cannot be copied: {wrong}")
    if size > image.virtual_size:
        status, _, wrong = await _output(
            "qemu-img", "resize", "-q", "-f", "qcow2", "--", str(path), str(size)
        )
        if status != 0:
            raise VmError("failed", f"{path} cannot be made larger: {wrong}")


def _must_be_a_file(path: Path) -> None:
    if not path.is_file():
        raise VmError("refused", f"{path} is no file; name a disk image")


async def _output(*command: str) -> tuple[int, bytes, str]:
    """A command's exit status, and what it says on standard output and on standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
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
