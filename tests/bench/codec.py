"""The codec beside memcpy, memcmp and zstd: `python -m tests.bench.codec [--repeats N] [--json] [OLD NEW]...`

Each pair of files is two releases of something: the old one goes cold, then warm, then the new one. All of it is
repeated, rivals in turn, and medians of the ratios are printed, since the machine is shared: speeds without literal
compression as multiples of memcmp (encode) and memcpy (decode; cold as well), bytes of the dense level beside
`zstd -3 --long=27` (cold, with CPU) and `zstd -1 --patch-from` (new). Without files: numpy 1.26.3 and 1.26.4.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dedupe import Effort, keep_heap
from dedupe.measure import BLOCK, Bench, Measured, machine
from tests.bench.content import releases

Figures = dict[str, float]


def blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while raw := file.read(BLOCK):
            yield raw


def ours(old: Path, new: Path, effort: Effort) -> tuple[Measured, Measured, Measured]:
    """Cold, warm, modified."""
    total = 2 * old.stat().st_size + new.stat().st_size
    bench = Bench(capacity=max(total, 16 << 20), effort=effort)
    bench.prepare(total)
    cold, warm, modified = (bench.run(path.name, blocks(path)) for path in (old, old, new))
    if not (cold.ok and warm.ok and modified.ok):
        raise RuntimeError(f"{old}, {new}: wrong bytes")
    return cold, warm, modified


def zstd(*arguments: str | Path) -> tuple[int, float]:
    """Bytes it makes and the CPU seconds it takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = subprocess.run(["zstd", "-q", "-c", *arguments], check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return len(made.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def once(old: Path, new: Path) -> Figures:
    """One round over a pair."""
    speeds = machine()
    cold, warm, modified = ours(old, new, Effort.RAW)
    figures = {
        "memcpy_mb_s": speeds.memcpy_mb_s,
        "memcmp_mb_s": speeds.memcmp_mb_s,
        "cold_mb_s": cold.encode_mb_s,
        "cold_of_memcpy": cold.encode_mb_s / speeds.memcpy_mb_s,
        "warm_of_memcmp": warm.encode_mb_s / speeds.memcmp_mb_s,
        "modified_of_memcmp": modified.encode_mb_s / speeds.memcmp_mb_s,
        "warm_decode_of_memcpy": warm.decode_mb_s / speeds.memcpy_mb_s,
        "modified_decode_of_memcpy": modified.decode_mb_s / speeds.memcpy_mb_s,
    }
    dense_cold, dense_warm, dense_modified = ours(old, new, Effort.DENSE)
    cold_bytes, cold_cpu = zstd("-3", "--long=27", "--single-thread", old)
    patch_bytes, _ = zstd("-1", f"--patch-from={old}", new)
    return figures | {
        "dense_cold_of_zstd": dense_cold.out_bytes / cold_bytes,
        "dense_cold_cpu_of_zstd": dense_cold.bytes / dense_cold.encode_mb_s / 1e6 / cold_cpu,
        "dense_warm_percent": 100 * dense_warm.out_bytes / dense_warm.bytes,
        "dense_modified_percent": 100 * dense_modified.out_bytes / dense_modified.bytes,
        "dense_modified_of_zstd_patch": dense_modified.out_bytes / patch_bytes,
    }


def measure(old: Path, new: Path, repeats: int) -> Figures:
    """The medians."""
    rounds = [once(old, new) for _ in range(repeats)]
    return {name: round(statistics.median(figures[name] for figures in rounds), 4) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a pair")
    options = parser.parse_args()
    files = options.files or list(releases())
    if len(files) % 2:
        parser.error("files come in pairs: old, new")
    keep_heap()
    for old, new in zip(files[::2], files[1::2], strict=True):
        figures = measure(old, new, options.repeats)
        if options.json:
            line = json.dumps({"old": old.name, "new": new.name} | figures)
        else:
            line = f"{old.name} -> {new.name}\n" + "\n".join(f"  {k:28} {v:,}" for k, v in figures.items())
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
