"""`branchline lab`: the simulated network, for trying Branchline before there is hardware."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click

from appliance.cli.parsed import Parsed
from appliance.cli.soak import soak
from appliance.cli.stress import stress
from appliance.config import units
from appliance.lab import LabError, WanProfile, demo, rootless
from appliance.lab.transfer import Outcome, Protocol, transfer

UNLIMITED = "unlimited"
SLOWEST, LONGEST = 1000, 60  # bytes/s, and seconds there and back: what the lab's WAN can be
MEANINGFUL = 10_000  # bytes; below, what a connection itself costs hides any reduction


def rate(text: str) -> float | None:
    """Bytes/s; None for "unlimited". ValueError says what to write."""
    if text == UNLIMITED:
        return None
    value = float(units.rate(text))
    if value < SLOWEST:
        raise ValueError(f'"{text}" is less than "8kbit"; write it like "20mbit" or "{UNLIMITED}"')
    return value


def round_trip(text: str) -> float:
    """Seconds; ValueError says what to write."""
    value = units.duration(text)
    if value > LONGEST:
        raise ValueError(f'"{text}" is longer than {LONGEST} s; write it like "80ms" or 0.08 (seconds)')
    return value


def fraction(text: str) -> float:
    """0..1 from "1%" or "0.01"; ValueError says what to write."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if rest or not 0 <= value <= 1:
        raise ValueError(f'"{text}" is not a share of packets; write it like "1%" or 0.01')
    return value


@click.group()
def lab() -> None:
    """The simulated network: a branch, a WAN and a data centre on this machine."""


lab.add_command(stress)
lab.add_command(soak)


@lab.command("transfer")
@click.option(
    "--rate",
    type=Parsed("RATE", rate),
    default="20mbit",
    show_default=True,
    help=f'WAN rate in each direction, or "{UNLIMITED}".',
)
@click.option(
    "--rtt",
    type=Parsed("TIME", round_trip),
    default="80ms",
    show_default=True,
    help="Round-trip time of the WAN.",
)
@click.option(
    "--loss",
    type=Parsed("SHARE", fraction),
    default="0%",
    show_default=True,
    help="Packets lost on the WAN, in each direction.",
)
@click.option("--no-optimise", is_flag=True, help="Route only, without Branchline, for comparison.")
@click.option(
    "--protocol",
    type=click.Choice(["http", "raw"]),
    default="http",
    show_default=True,
    help="HTTP/1.1, or bare TCP.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output.")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
def transfer_command(
    rate: float | None,
    rtt: float,
    loss: float,
    no_optimise: bool,
    protocol: Protocol,
    as_json: bool,
    files: tuple[Path, ...],
) -> None:
    """Move FILES from the data centre's server to the branch's client and say what it cost.

    They go one after the other, in the order given, through two real Branchlines, and are compared byte for byte;
    name a file twice to see it warm. WAN bytes are both directions, counted on the link by the kernel. Needs no
    root where user namespaces are allowed. Exits 0 when every file arrived as it was.
    """
    for path in files:
        if not path.is_file():
            raise click.UsageError(f"{path} is not a file of a fixed size")
    try:
        profile = WanProfile(rate=rate, rtt=rtt, loss=loss)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    outcomes: list[Outcome] = []
    try:
        rootless.ensure()
        for outcome in transfer(
            files,
            profile,
            optimise=not no_optimise,
            protocol=protocol,
            report=_progress,
        ):
            outcomes.append(outcome)
            if as_json:
                click.echo(json.dumps(dataclasses.asdict(outcome)))
    except LabError as error:
        raise click.ClickException(str(error)) from error
    finally:  # after a Ctrl-C too: what has been measured is worth reading
        if outcomes and not as_json:
            click.echo(table(outcomes))
    if not all(outcome.ok for outcome in outcomes):
        raise SystemExit(1)


@lab.command("demo")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".cache/demo"),
    show_default=True,
    help="Where the releases are kept; fetched with pip the first time.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a step on standard output.")
def demo_command(cache: Path, as_json: bool) -> None:
    """Real downloads, a git clone and a Windows share over 20 Mbit/s and 80 ms, without and with Branchline.

    Takes two to three minutes. Exits 0 when everything arrived as it was and was optimised.
    """
    results: list[demo.Result] = []
    cache = cache.resolve()
    try:
        tars = demo.prepare(cache, _progress)
        rootless.ensure()
        for result in demo.run(tars, cache, _progress):
            results.append(result)
            if as_json:
                click.echo(json.dumps(dataclasses.asdict(result) | {"ok": result.ok}))
    except LabError as error:
        raise click.ClickException(str(error)) from error
    if not as_json:
        click.echo("\n" + demo_table(results) + "\n")
        for sentence in demo.sentences(results):
            click.echo("• " + sentence)
    if not all(result.ok for result in results):
        raise SystemExit(1)


def demo_table(results: Sequence[demo.Result]) -> str:
    """One line a step: without Branchline, with it, and the ratios."""
    title = ("20 Mbit/s, 80 ms", "WAN MB without", "with", "less", "seconds without", "with", "faster", "")
    rows = [
        (
            result.what,
            f"{result.plain.wan_bytes / 1e6:.2f}",
            f"{result.with_us.wan_bytes / 1e6:.2f}",
            f"{1 - result.with_us.wan_bytes / result.plain.wan_bytes:.2%}",
            f"{result.plain.seconds:.1f}",
            f"{result.with_us.seconds:.1f}",
            f"{result.plain.seconds / result.with_us.seconds:.1f} ×",
            "ok" if result.ok else ("WRONG" if result.with_us.optimised else "PASSED THROUGH"),
        )
        for result in results
    ]
    return columns([title, *rows])


def _progress(text: str) -> None:
    click.echo(text, err=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """What a person reads: one line a file."""
    title = ("file", "bytes", "WAN bytes", "reduction", "seconds", "MB/s", "CPU s branch", "CPU s dc", "")
    return columns([title, *(_row(outcome) for outcome in outcomes)])


def _row(outcome: Outcome) -> tuple[str, ...]:
    speed = outcome.bytes / outcome.seconds / 1e6 if outcome.seconds else 0.0
    return (
        outcome.file,
        f"{outcome.bytes:,}",
        f"{outcome.wan_bytes:,}",
        f"{outcome.reduction:.2%}" if outcome.bytes >= MEANINGFUL else "–",
        f"{outcome.seconds:.2f}",
        f"{speed:.1f}",
        f"{outcome.cpu_branch_s:.2f}",
        f"{outcome.cpu_dc_s:.2f}",
        "ok" if outcome.ok else "WRONG",
    )


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text: the first column to the left, the others to the right, two blanks between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)
