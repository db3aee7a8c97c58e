"""What this box can do for virtual machines, and why not more."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmhost.domain import Accelerator
from vmhost.recipe import Arch
from vmhost.selftest import Verdict, boots, own_kernel

EMULATORS: Mapping[Arch, tuple[str, str]] = {
    "x86-64": ("qemu-system-x86_64", "qemu-system-x86"),  # program, Debian package
    "arm64": ("qemu-system-aarch64", "qemu-system-arm"),
}
_OWN: Mapping[str, Arch] = {"x86_64": "x86-64", "aarch64": "arm64"}
KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Ability:
    """How guests of one architecture run: the accelerator, or none; `why` it is not a better one."""

    accelerator: Accelerator | None
    why: str = ""


class Abilities:
    """Of this box. What takes a self-test is found out once, by the first who asks."""

    def __init__(self) -> None:
        self._proving = asyncio.Lock()
        self._kvm: Verdict | None = None

    async def guest(self, arch: Arch) -> Ability:
        """How a guest of `arch` runs here."""
        program, package = EMULATORS[arch]
        emulator = shutil.which(program)
        if emulator is None:
            return Ability(None, f"{program} is not installed; install the package {package}")
        if _OWN.get(platform.machine()) != arch:
            return Ability("tcg", f"this box's processor is {platform.machine()}: guests are emulated")
        async with self._proving:
            if self._kvm is None:
                hindrance = _hindrance(arch)
                self._kvm = Verdict(False, hindrance) if hindrance else await _prove(emulator)
        return Ability("kvm") if self._kvm.works else Ability("tcg", self._kvm.why)


def _hindrance(arch: Arch) -> str:
    """Why KVM need not even be tried."""
    if not KVM.exists():
        return f"there is no {KVM}: the processor's virtualisation is off or not passed on"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} may not be opened; run branchline as root"
    if arch != "x86-64" or own_kernel() is None:
        return "KVM is not proved: there is no kernel in /boot that the self-test can boot"
    return ""


async def _prove(emulator: str) -> Verdict:
    kernel = own_kernel()
    assert kernel is not None
    verdict = await boots(emulator, "kvm", kernel)
    return verdict if verdict.works else Verdict(False, f"KVM is on offer and does not work: {verdict.why}")


def memory_left() -> int:
    """Bytes of memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def disk_left(directory: Path) -> int:
    """Bytes that can be written at `directory`, or where it will be made."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free
