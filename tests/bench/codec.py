"""Codec figures on real files: `.venv/bin/python tests/bench/codec.py [--effort DENSE] [--json] FILE...`

One cache pair in one process encodes the files in the order given and checks every block. Per file: bytes,
wire bytes, ratio, tokens' share, and MB/s of CPU time for each side. memcpy and memcmp of the same run stand
beside them. Without FILE: numpy 1.26.3 cold, 1.26.3 again, 1.26.4 (fetched with pip into .cache/).
"""

import argparse
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dedupe._kernel import ffi

from dedupe import Cache, DecodeWindow, Effort, EncodeWindow, keep_heap

CACHE_DIR = Path(__file__).resolve().parents[2] / ".cache" / "codec"


def numpy_tar(version: str) -> Path:
    """The wheel of that version, unpacked to a tar (names in the wheel's order)."""
    target = CACHE_DIR / f"numpy-{version}.tar"
    if target.exists():
        return target
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    wanted = ["--only-binary", ":all:", "--python-version", "311", "--platform", "manylinux2014_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *wanted, "-d", str(CACHE_DIR)]
    subprocess.run([*command, f"numpy=={version}"], check=True, stdout=sys.stderr)
    (wheel,) = CACHE_DIR.glob(f"numpy-{version}-*.whl")
    with zipfile.ZipFile(wheel) as source, tarfile.open(target, "w") as out:
        for entry in source.infolist():
            member = tarfile.TarInfo(entry.filename)
            member.size = entry.file_size
            with source.open(entry) as content:
                out.addfile(member, content)
    return target


def rates(size: int = 64 << 20) -> dict[str, float]:
    """memcpy and memcmp of this machine, MB/s, on memory that is already there."""
    left, right = ffi.new("char[]", size), ffi.new("char[]", size)
    ffi.memmove(left, right, size)
    started = time.thread_time()
    ffi.memmove(left, right, size)
    copied = time.thread_time()
    same = memoryview(ffi.buffer(left)) == memoryview(ffi.buffer(right))
    compared = time.thread_time()
    if not same:
        raise RuntimeError("memory does not hold what was copied into it")
    return {
        "memcpy_mb_s": round(size / (copied - started) / 1e6),
        "memcmp_mb_s": round(size / (compared - copied) / 1e6),
    }


def measure(paths: list[Path], effort: Effort, block: int) -> Iterator[dict[str, object]]:
    sender, receiver = Cache(capacity=512 << 20), Cache(capacity=512 << 20)
    offers = sender.offer(), receiver.offer()
    sender.accept(offers[1])
    receiver.accept(offers[0])
    for cache in (sender, receiver):
        cache.prepare(sum(path.stat().st_size for path in paths))
    for path in paths:
        content = memoryview(path.read_bytes())
        out, into = EncodeWindow(), DecodeWindow()
        before = sender.stats()
        encoding = decoding = 0.0
        wire = 0
        for at in range(0, len(content), block):
            raw = bytes(content[at : at + block])
            started = time.thread_time()
            made = sender.encode(raw, effort=effort, window=out)
            encoded = time.thread_time()
            got = receiver.decode(made.wire, window=into, limit=block)
            decoded = time.thread_time()
            if got != raw:
                raise RuntimeError(f"{path}: wrong bytes at {at}")
            sender.acknowledge(made)
            wire += len(made.wire)
            encoding += encoded - started
            decoding += decoded - encoded
        after = sender.stats()
        yield {
            "file": path.name,
            "bytes": len(content),
            "out_bytes": wire,
            "percent": round(100 * wire / max(1, len(content)), 4),
            "logged": after.encoded_logged - before.encoded_logged,
            "literal": after.encoded_literal - before.encoded_literal,
            "encode_mb_s": round(len(content) / max(encoding, 1e-9) / 1e6),
            "decode_mb_s": round(len(content) / max(decoding, 1e-9) / 1e6),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--effort", default="DENSE", choices=[effort.name for effort in Effort])
    parser.add_argument("--block", type=int, default=256 * 1024)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    files = options.files
    if not files:
        old, new = numpy_tar("1.26.3"), numpy_tar("1.26.4")
        files = [old, old, new, new]
    keep_heap()
    speeds = rates()
    for row in measure(files, Effort[options.effort], options.block):
        line = json.dumps(row | speeds) if options.json else "  ".join(f"{k} {v}" for k, v in row.items())
        sys.stdout.write(line + "\n")
    if not options.json:
        sys.stdout.write(f"{speeds}\n")


if __name__ == "__main__":
    main()
