"""`branchline cache`"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Command, Failure, asking, json_option, print_json, socket_option
from appliance.config.units import show_size
from appliance.rpc import UnreachableError

DEFAULT_STATE_DIR = "/var/lib/branchline"
DIRECTORY = "cache"  # in the state directory

Reports = list[dict[str, Any]]
Totals = dict[str, int]


def _options(command: Command) -> Command:
    for option in (
        click.argument("peer", required=False),
        socket_option,
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, readable=False),  # the box may read what the asker may not
            envvar="BRANCHLINE_STATE_DIR",
            default=DEFAULT_STATE_DIR,
            show_default=True,
            show_envvar=True,
            help="State directory of the box; used while it does not run.",
        ),
        json_option,
    ):
        command = option(command)
    return command


@click.group()
def cache() -> None:
    """The chunk caches: bytes that this box and a PEER both hold, so that they need not be sent again."""


@cache.command()
@_options
def status(peer: str | None, socket_path: Path, state_dir: Path, as_json: bool) -> None:
    """What the caches hold, of all peers or one PEER, and what they take.

    From a running box, the last line of --json has the totals and their limits.
    """
    reports, totals = _ask("status", peer, socket_path, state_dir)
    _show(reports, peer, as_json, verified=False)
    if as_json:
        print_json([{"totals": totals}] if totals else [])
    elif totals:
        click.echo(
            f"disk {show_size(totals['disk'])} of {show_size(totals['disk_limit'])} (cache.disk), "
            f"index {show_size(totals['index'])} of {show_size(totals['index_limit'])} (cache.index)"
        )


@cache.command()
@_options
@click.pass_context
def verify(ctx: click.Context, peer: str | None, socket_path: Path, state_dir: Path, as_json: bool) -> None:
    """Read all that is held and compare its checksums. Exit status 1 if something is damaged.

    What is damaged is never sent or delivered; the next start drops it.
    """
    reports, _ = _ask("verify", peer, socket_path, state_dir)
    _show(reports, peer, as_json, verified=True)
    if any(_damaged(report) for report in reports):
        ctx.exit(1)


@cache.command()
@_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(peer: str | None, socket_path: Path, state_dir: Path, as_json: bool, yes: bool) -> None:
    """Empty the caches of all peers or one PEER. Everything must cross the WAN once more.

    Open flows of those peers end in a reset; new ones are optimised again within a second or two.
    """
    whose = f"The cache of peer {peer}" if peer else "The caches of all peers"
    if not yes:
        click.echo(
            f"{whose} will be emptied: open optimised flows are reset, and the WAN will be cold, and full, "
            "until they have filled again.",
            err=True,
        )
        click.confirm("Go on?", abort=True, err=True)
    cleared, _ = _ask("clear", peer, socket_path, state_dir)
    if as_json:
        print_json(cleared)
        return
    for report in cleared:
        click.echo(f"cleared: peer {report['peer']}, {report['directory']}")
    if not cleared:
        click.echo("there was nothing to clear")


def _ask(action: str, peer: str | None, socket_path: Path, state_dir: Path) -> tuple[Reports, Totals]:
    """From the running box, which alone may touch an open cache; from the directory if nobody runs."""
    try:
        with asking(socket_path) as box:
            try:
                answer = box.call("cache", action=action, **({} if peer is None else {"peer": peer}))
            except UnreachableError:
                raise Failure(f"the box at {socket_path} went away; try again") from None
            return answer["caches"], answer["totals"]
    except Failure as failure:
        if not isinstance(failure.__context__, UnreachableError):
            raise
    return _directly(action, peer, state_dir / DIRECTORY), {}


def _directly(action: str, peer: str | None, directory: Path) -> Reports:
    import dedupe

    looks: dict[str, Callable[[], list[dedupe.CacheReport]]] = {
        "status": lambda: dedupe.inspect(directory, peer=peer),
        "verify": lambda: dedupe.inspect(directory, peer=peer, verify=True),
        "clear": lambda: _clear(directory, peer),
    }
    try:
        return [asdict(report) for report in looks[action]()]
    except dedupe.CacheInUse as error:
        raise Failure(f"{error}, or ask it through its socket (--socket)") from None
    except OSError as error:
        raise Failure(f"{error.filename or directory}: {error.strerror}; run this as root") from None


def _clear(directory: Path, peer: str | None) -> list[Any]:
    import dedupe

    before = dedupe.inspect(directory, peer=peer)
    dedupe.clear(directory, peer=peer)
    return before


def _damaged(report: dict[str, Any]) -> bool:
    return bool(report["problem"]) or any(log["damaged"] or log["problem"] for log in report["logs"])


def _show(reports: Reports, peer: str | None, as_json: bool, *, verified: bool) -> None:
    if as_json:
        print_json(reports)
        return
    from appliance.cli import tables

    if not reports:
        click.echo(f"no chunk cache of peer {peer} is kept here" if peer else "no chunk cache is kept here")
        return
    more = ("verified", "damaged") if verified else ()
    numbers = ("held", "of", *more)
    made = tables.table(
        "peer", "domain", "log", *numbers, "state", "disk", "index", right=(*numbers, "disk", "index")
    )
    for report in reports:
        takes = (tables.size(report["disk"]), tables.size(report.get("index")))  # both logs together
        for log in report["logs"]:
            read = (tables.size(log["verified"]), tables.size(log["damaged"])) if verified else ()
            made.add_row(
                report["peer"],
                str(report["domain"]),
                log["log"],
                tables.size(log["held"]),
                tables.size(log["capacity"]),
                *read,
                log["problem"] or _state(report, log),
                *takes,
            )
            takes = ("", "")
        if report["problem"]:
            made.add_row(report["peer"], "", "", "", "", *("" for _ in more), report["problem"], *takes)
    tables.console().print(made)


def _state(report: dict[str, Any], log: dict[str, Any]) -> str:
    if report["in_use"]:
        unread = report.get("unread", 0)  # of both logs together
        return f"in use, {show_size(unread)} to be indexed" if unread else "in use"
    return "closed" if log["clean"] else "to be recovered"
