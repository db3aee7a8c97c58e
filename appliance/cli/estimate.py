"""`branchline estimate`"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.asking import Failure, json_option, print_json
from appliance.cli.bounded import seconds_option, told_enough
from appliance.cli.parsed import Parsed
from appliance.config import units

if TYPE_CHECKING:
    from appliance.estimate.report import Report
    from appliance.estimate.traffic import Traffic

SAID_EVERY_S = 10.0  # where nobody watches the line change


@click.command()
@click.argument("interfaces", nargs=-1, required=True, metavar="INTERFACE...")
@seconds_option
@click.option(
    "--site",
    "sites",
    type=Parsed("PREFIX", lambda text: ipaddress.ip_network(text, strict=False)),
    multiple=True,
    help="Only traffic with this prefix, which another box would stand before; may be given again.  [default: all]",
)
@click.option(
    "--cache",
    type=Parsed("SIZE", units.size),
    default="256MiB",
    show_default=True,
    help="Memory that repeats are looked for in.",
)
@json_option
def estimate(
    interfaces: tuple[str, ...], seconds: float, sites: tuple[Any, ...], cache: int, as_json: bool
) -> None:
    """What Branchline would save of the traffic on INTERFACE, found by looking on.

    Needs no configuration, and changes and intercepts nothing. Name the interface on one side of the box only, towards
    the LAN or towards the WAN, or everything is counted twice.
    """
    from appliance.estimate.watch import watch, yield_to_others

    known = [name for _, name in socket.if_nameindex()]
    for name in interfaces:
        if name not in known:
            raise Failure(f'there is no interface "{name}"; there are {", ".join(known)}', 2)
    yield_to_others()
    say = _Progress(seconds)
    enough = told_enough()
    try:
        found = watch(interfaces, seconds, cache=cache, sites=sites, progress=say, enough=enough)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise Failure("looking at packets needs CAP_NET_RAW; run this as root") from None
        raise Failure(f"{', '.join(interfaces)}: {error.strerror}") from None
    finally:
        say.end()
    if as_json:
        print_json([found.tree()])
        return
    from appliance.cli import tables

    console = tables.console()
    console.print(table(found))
    console.print(f"\n{found.sentence()}", soft_wrap=True)
    cost = found.cost
    console.print(
        f"Looking on cost {cost.cpu:.0%} of a core for {cost.packets} packets; {cost.dropped} came too fast.",
        soft_wrap=True,
    )


def table(found: Report) -> Any:
    """A line for each application."""
    from appliance.cli import tables

    numbers = ("flows", "bytes", "share", "by port only", "saved")
    made = tables.table("application", "", *numbers, right=numbers)
    for line in found.lines:
        made.add_row(
            line.application,
            line.protection,
            str(line.flows or ""),
            tables.size(line.bytes),
            tables.percent(line.share),
            tables.percent(line.guessed) if line.guessed else "",
            "?" if line.reduction is None else tables.percent(line.reduction),
        )
    return made


class _Progress:
    """A line that changes where somebody watches it, a line now and then where not. On standard error."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._live = sys.stderr.isatty()
        self._said = time.monotonic()

    def __call__(self, elapsed: float, traffic: Traffic) -> None:
        text = f"{elapsed:.0f} of {self._seconds:.0f} s, {traffic.packets} packets"
        if self._live:
            click.echo(f"\r{text} ", nl=False, err=True)
        elif time.monotonic() - self._said >= SAID_EVERY_S:
            self._said = time.monotonic()
            click.echo(text, err=True)

    def end(self) -> None:
        if self._live:
            click.echo("\r", nl=False, err=True)
