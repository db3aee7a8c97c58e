"""WAN bytes over a thin link, beside what `zstd -3` makes of the same files in the same run, and its CPU time."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.lab import LabError, WanProfile
from appliance.lab.cost import settle
from appliance.lab.tools import find
from tests.bench import content
from tests.bench.contenders import Contender, branchline
from tests.bench.goodput import download
from tests.bench.report import Row, progress

THIN = WanProfile(rate=2_500_000, rtt=0.08)


@dataclass(frozen=True)
class Squeezed:
    """What zstd made of a file: bytes, and CPU seconds of making and undoing it."""

    bytes: int
    cpu_seconds: float


def measure(quick: bool) -> Iterator[Row]:
    """The old release cold and warm, then the new one; zstd does the same with it alone and as a patch."""
    del quick  # one transfer of each is the least there is
    old, new = content.releases()
    progress("compression: zstd")
    alone, patch = zstd(old), zstd(new, "--long=27", f"--patch-from={old}")
    with branchline([old, new], THIN) as ours:
        for name, number, path, peer, other in (
            ("wan_cold", 0, old, "zstd -3", alone),
            ("wan_warm", 0, old, "zstd -3", alone),
            ("wan_modified", 1, new, "zstd -3 --long=27 --patch-from", patch),
        ):
            progress(f"compression: {name} over 20 Mbit/s, 80 ms")
            size = path.stat().st_size
            wan, cpu = _transfer(ours, number, size)
            yield Row(
                f"{name}_20mbit", 100 * wan / size, "WAN bytes, % of the file", peer, 100 * other.bytes / size
            )
            yield Row(
                f"{name}_20mbit_cpu", 1e9 * cpu / size, "CPU s/GB", peer, 1e9 * other.cpu_seconds / size
            )


def _transfer(contender: Contender, number: int, size: int) -> tuple[int, float]:
    before = settle(contender.lab.wan)
    done = download(contender, number)
    if done.bytes != size:
        raise LabError(f"{done.bytes} bytes of {size} arrived")
    return settle(contender.lab.wan) - before, done.cpu_seconds


def zstd(path: Path, *options: str) -> Squeezed:
    """`zstd -3` on one thread, there and back, compared."""
    with tempfile.TemporaryDirectory(prefix="branchline-bench-") as name:
        packed, back = Path(name, "packed"), Path(name, "back")
        cpu = _run([*options, "-3", "--single-thread", str(path), "-o", str(packed)])
        cpu += _run([*options, "-d", str(packed), "-o", str(back)])
        if back.read_bytes() != path.read_bytes():
            raise LabError(f"zstd gave back something else than {path}")
        return Squeezed(packed.stat().st_size, cpu)


def _run(options: list[str]) -> float:
    """CPU seconds of one zstd."""
    process = subprocess.Popen([find("zstd"), "-q", *options], stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise LabError(f"zstd {' '.join(options)} failed")
    return usage.ru_utime + usage.ru_stime
