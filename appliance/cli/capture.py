"""`branchline capture`"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from appliance.cli import tables
from appliance.cli.asking import Failure, asking, json_option, print_json, socket_option
from appliance.cli.bounded import seconds_option, told_enough
from appliance.cli.choosing import MOST, Choice, End, choosing
from appliance.cli.parsed import Parsed
from appliance.config import units
from appliance.spread import Part, number_of

SHOWN = 5  # flows that are named when it is not clear which is meant


@click.command()
@choosing
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The pcapng file to make.",
)
@seconds_option
@click.option(
    "--size",
    type=Parsed("SIZE", units.size),
    default="64MiB",
    show_default=True,
    help="It also ends when the file has grown to this.",
)
@socket_option
@json_option
def capture(
    end: End | None,
    peer: str | None,
    application: str | None,
    reason: str | None,
    output: Path,
    seconds: float,
    size: int,
    socket_path: Path,
    as_json: bool,
) -> None:
    """Record one open flow: its packets on the LAN, and its frames on the lanes, decrypted.

    END and the options must leave one flow of those that `branchline flows` shows; ADDRESS:PORT of the client always
    does. The file holds what the flow carries, readable: treat it as that.
    """
    from appliance.capture.recorder import Recorder

    with asking(socket_path) as box:
        flow = _one(Choice(end, peer, application, reason).of(box.call("flows", limit=MOST)))
        config = box.call("config")["box"]
    interfaces = config["lan"]
    enough = told_enough()
    frames_socket = socket_path.parent / f"capture-{os.getpid()}.sock"
    try:
        with Recorder(output, frames_socket) as recorder:
            ends = _begin(flow, config["processes"], socket_path.parent, frames_socket, seconds)
            recorder.listen(interfaces, ends)
            click.echo(f"recording {_named(flow)} into {output}, for at most {seconds:.0f} s", err=True)
            done = recorder.run(seconds, size, enough)
    except FileExistsError:
        raise Failure(f"{output} is there already; choose another file with -o", 2) from None
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise Failure("only root may capture") from None
        raise
    if as_json:
        print_json([{"file": str(output), **asdict(done)}])
        return
    click.echo(
        f"{output}: {done.packets} packets of the LAN, {done.frames} frames of lanes, {done.bytes} bytes"
        + (f"; {done.lost} came too fast" if done.lost else "")
        + ". It holds what the flow carried"
    )


def _one(flows: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    if not flows:
        raise Failure("no such flow is open; see `branchline flows`", 2)
    if len(flows) > 1:
        named = "".join(f"\n  {_named(flow)}" for flow in flows[:SHOWN])
        more = f"\n  and {len(flows) - SHOWN} more" if len(flows) > SHOWN else ""
        raise Failure(f"{len(flows)} flows are meant; name one by its client's ADDRESS:PORT:{named}{more}", 2)
    return flows[0]


def _named(flow: Mapping[str, Any]) -> str:
    return f"{tables.endpoint(flow['client'])} to {tables.endpoint(flow['server'])}"


def _begin(
    flow: Mapping[str, Any], processes: int, run_dir: Path, frames_socket: Path, seconds: float
) -> Any:
    """Has the data plane feed us the flow's frames; the ends of the flow on the LAN. A passed flow has no frames."""
    if flow["kind"] == "passed":
        return tuple(flow["client"]), tuple(flow["server"])
    part = Part(number_of(flow["peer"], processes), processes)
    with asking(run_dir / part.socket) as plane:  # only root may ask it: it gives payload away
        begun = plane.call(
            "capture",
            client=flow["client"],
            server=flow["server"],
            socket=str(frames_socket),
            seconds=seconds,
        )
    return tuple(begun["local"]), tuple(begun["remote"])
