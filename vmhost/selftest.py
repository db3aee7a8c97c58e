"""Whether an accelerator really runs a guest: it boots a kernel, and nothing else is believed.

`/dev/kvm` and libvirt's capabilities promise it on machines where guests hang or QEMU aborts (nested and paravirtual
hosts). So a Debian kernel without a disk is booted until it says that it has found no root file system: by then it has
been through long mode, paging, interrupts, timers and the scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from vmhost.domain import Accelerator
from vmhost.processes import launch

WITHIN_S = 30.0
_PROOF = b"Unable to mount root fs"
_MOST = 2**20  # bytes of what it says


@dataclass(frozen=True)
class Verdict:
    """Whether guests run, and why not (empty if they do)."""

    works: bool
    why: str = ""


def own_kernel(boot: Path = Path("/boot")) -> Path | None:
    """The newest kernel of this box that can be booted directly."""
    found = sorted(boot.glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


async def boots(emulator: str, accelerator: Accelerator, kernel: Path, within: float = WITHIN_S) -> Verdict:
    """Boot `kernel` with `emulator`, of this machine's own architecture; QEMU is gone when this returns.

    VmError if it cannot be run.
    """
    command = [emulator, "-accel", accelerator, "-machine", "q35", "-cpu", "max", "-m", "256", "-nodefaults"]
    command += ["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel)]
    command += ["-append", "console=ttyS0 panic=-1"]
    process = await launch(*command, stderr=asyncio.subprocess.STDOUT)
    said = bytearray()
    try:
        async with asyncio.timeout(within):
            assert process.stdout is not None
            while _PROOF not in said and len(said) < _MOST:
                data = await process.stdout.read(65536)
                if not data:
                    break
                said += data
    except TimeoutError:
        return Verdict(False, f"a guest did not boot within {within:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if _PROOF in said:
        return Verdict(True)
    last = said.decode(errors="replace").strip().rpartition("\n")[2]
    return Verdict(False, f"a guest did not boot: {last[:200] or 'it said nothing'}")
