"""`branchline vm check` and `health`"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from appliance.cli.asking import Failure, json_option, print_json, socket_option
from appliance.cli.vm.asking import ask
from vmhost.health.result import state_of
from vmhost.health.round import check as checked
from vmhost.health.target import Directory, problems


@click.command()
@click.argument("address")
@click.option("--realm", required=True, help="Of the directory, like AD.EXAMPLE.")
@click.option("--account", default="", help="Who logs on; without, less is checked.")
@click.option(
    "--secret",
    type=click.Path(path_type=Path),
    help="File with the account's password, readable by its owner only.",
)
@click.option("--host", default="", help="Name it must be known by; its own word counts without.")
@click.option("--site", default="", help="Site it must be found in; its own word counts without.")
@click.option("--ca", type=click.Path(path_type=Path), help="Authority its certificate is verified against.")
@json_option
def check(
    address: str,
    realm: str,
    account: str,
    secret: Path | None,
    host: str,
    site: str,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Check the directory at ADDRESS (IPv4 or IPv6) as its clients use it. Fails if nobody could log on."""
    target = Directory(
        address=address,
        realm=realm,
        host=host,
        site=site,
        account=account,
        secret=str(secret or ""),
        ca=str(ca or ""),
    )
    for field, problem, remedy in problems(target):
        raise Failure(f"{field}: {problem}; {remedy}", 2)
    results = asyncio.run(checked(target))
    state = state_of(results)
    rows = [msgspec.to_builtins(result) for result in results]
    if as_json:
        print_json(rows)
    else:
        click.echo(f"{address}: {state}")
        _show(rows)
    if state == "failed":
        raise click.exceptions.Exit(1)


def _show(rows: Iterable[Mapping[str, Any]]) -> None:
    """Each check in a line, with what came; what to do below, if it is not ok."""
    for row in rows:
        mark = "ok  " if row["ok"] else "FAIL"
        click.echo(f"  {mark} {row['name']:<12}{row['latency']:6.0f} ms  {row['evidence']}")
        if row["remedy"]:
            click.echo(f"       {'':<12}{'':9}  {row['remedy']}")


@click.command()
@click.argument("name", default="")
@socket_option
@json_option
def health(name: str, socket_path: Path, as_json: bool) -> None:
    """What the last checks of the machine NAME have found, or of all. Fails if one has failed."""
    answer = ask(socket_path, "vm_health", name=name)
    if as_json:
        print_json(answer)
    for one in [] if as_json else answer:
        when = "not checked yet" if one["age"] is None else f"{one['age']:.0f} s ago"
        click.echo(f"{one['name']}: {one['state']} ({when}; {one['address']}, every {one['every']:g} s)")
        _show(one["results"])
    if not answer and not as_json:
        click.echo("no machine that runs has [health] in its recipe (docs/VMHOST.md)")
    if any(one["state"] == "failed" for one in answer):
        raise click.exceptions.Exit(1)
