"""`branchline codec`: what the codec makes of given files, on this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from appliance.cli.lab import columns
from appliance.cli.parsed import Parsed
from appliance.config import units
from dedupe import Effort, keep_heap, machine_memory
from dedupe.measure import BLOCK, Bench, Machine, Measured, machine

LEVELS = {"raw": Effort.RAW, "fast": Effort.FAST, "default": Effort.DEFAULT, "dense": Effort.DENSE}
LEAST_CACHE = 16 << 20  # bytes
OF_MEMORY = 8  # the part of the machine's memory that a cache is at most unless asked for; two boxes have two logs each


@click.group()
def codec() -> None:
    """The codec by itself, without a network."""


@codec.command("measure")
@click.option(
    "--level",
    type=click.Choice(list(LEVELS)),
    default="default",
    show_default=True,
    help="Compression of what is no repeat: none, LZ4, zstd, or zstd with more effort.",
)
@click.option(
    "--cache",
    type=Parsed("SIZE", units.size),
    default=None,
    help="Bytes of log that may be referred to.  [default: all that FILES have, at most an eighth of the memory]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output.")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
def measure_command(level: str, cache: int | None, as_json: bool, files: tuple[Path, ...]) -> None:
    """Encode and decode FILES in one process, in the order given, with one cache.

    Name a file twice to see it warm. Speeds are of one core's CPU time, beside what this machine's memcpy and memcmp
    do in the same run; copies and literals are bytes. Exits 0 when every file came out as it went in.
    """
    keep_heap()
    speeds = machine()
    total = sum(path.stat().st_size for path in files)
    usual = max(min(total, machine_memory() // OF_MEMORY), LEAST_CACHE)
    try:
        bench = Bench(capacity=cache or usual, effort=LEVELS[level])
        bench.prepare(total)
    except ValueError as error:
        raise click.UsageError(f"--cache: {error}") from error
    except OSError as error:
        raise click.ClickException(
            f"a cache of {units.show_size(cache or usual)}: {error.strerror}; try a smaller --cache"
        ) from error
    results: list[Measured] = []
    for path in files:
        try:
            with path.open("rb") as file:
                result = bench.run(path.name, _blocks(file))
        except OSError as error:
            raise click.ClickException(f"{path}: {error.strerror}") from error
        results.append(result)
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(result) | dataclasses.asdict(speeds)))
    if not as_json:
        click.echo(report(results, speeds))
    if not all(result.ok for result in results):
        raise SystemExit(1)


def report(results: Sequence[Measured], speeds: Machine) -> str:
    """What a person reads: a line a file, the machine, and what the index costs."""
    title = ("file", "bytes", "out bytes", "of bytes", "copies", "literals", "encode MB/s", "decode MB/s", "")
    rows = [_row(result) for result in results]
    last = results[-1]
    share = last.index_bytes / last.log_bytes if last.log_bytes else 0.0
    return (
        f"{columns([title, *rows])}\n\n"
        f"this machine: memcpy {speeds.memcpy_mb_s:,.0f} MB/s, memcmp {speeds.memcmp_mb_s:,.0f} MB/s\n"
        f"index: {last.index_bytes:,} bytes for {last.log_bytes:,} bytes of log, {share:.4f} a byte"
    )


def _row(result: Measured) -> tuple[str, ...]:
    return (
        result.file,
        f"{result.bytes:,}",
        f"{result.out_bytes:,}",
        f"{result.out_bytes / result.bytes:.3%}" if result.bytes else "–",
        f"{result.copies:,}",
        f"{result.literals:,}",
        f"{result.encode_mb_s:,.0f}",
        f"{result.decode_mb_s:,.0f}",
        "ok" if result.ok else "WRONG",
    )


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while raw := file.read(BLOCK):
        yield raw
