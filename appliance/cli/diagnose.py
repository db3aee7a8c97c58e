"""`branchline diagnose`"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from appliance.cli.asking import Failure, asking, json_option, print_json, socket_option

DEFAULT_CONFIG = "/etc/branchline/branchline.toml"


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to make.  [default: branchline-TIME.tar.gz here]",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help=f"The box's configuration file.  [default: what the running box says, else {DEFAULT_CONFIG}]",
)
@socket_option
@json_option
def diagnose(output: Path | None, config_path: Path | None, socket_path: Path, as_json: bool) -> None:
    """One file for support, without secrets and without what flows carried. Works also when nothing runs.

    It holds the addresses of hosts, and no keys, no tokens and no payload.
    """
    from appliance.diagnose import machine
    from appliance.diagnose.box import Box
    from appliance.diagnose.bundle import write
    from appliance.diagnose.redaction import Scrubber

    now = time.time()
    path = output or Path(time.strftime("branchline-%Y%m%d-%H%M%S.tar.gz", time.gmtime(now)))
    box = Box(socket_path, config_path or _config_of(socket_path))
    try:
        parts = write(path, box.parts() | machine.parts(), Scrubber(box.secrets()), now)
    except FileExistsError:
        raise Failure(f"{path} is there already; choose another file with -o", 2) from None
    except PermissionError as error:
        raise Failure(f"{error.filename or path}: {error.strerror}; run this as root") from None
    missing = [part for part in parts if part.missing]
    if as_json:
        print_json(
            [{"file": str(path), "bytes": path.stat().st_size, "parts": [asdict(part) for part in parts]}]
        )
        return
    for part in missing:
        click.echo(f"without {part.name}: {part.missing}")
    click.echo(
        f"{path}: {len(parts) - len(missing)} parts, {path.stat().st_size} bytes; "
        "it holds addresses of hosts, and no keys, no tokens and no payload"
    )


def _config_of(socket_path: Path) -> Path:
    try:
        with asking(socket_path) as running:
            return Path(running.call("status")["config"])
    except Failure:
        return Path(DEFAULT_CONFIG)
