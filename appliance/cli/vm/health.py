"""`branchline vm check`"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from appliance.cli.asking import Failure, json_option, print_json
from vmhost.health.result import state_of
from vmhost.health.round import check as checked
from vmhost.health.target import Directory


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
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise Failure(
            f"{address} is not an address; write that of the controller, like 10.1.0.2", 2
        ) from None
    if (secret is None) != (not account):
        raise Failure("--account and --secret belong together", 2)
    target = Directory(
        address=address,
        realm=realm,
        host=host,
        site=site,
        account=account,
        secret=str(secret or ""),
        ca=str(ca or ""),
    )
    results = asyncio.run(checked(target))
    state = state_of(results)
    rows = [msgspec.to_builtins(result) for result in results]
    if as_json:
        print_json(rows)
    else:
        click.echo(f"{address}: {state}")
        show(rows)
    if state == "failed":
        raise click.exceptions.Exit(1)


def show(rows: Iterable[Mapping[str, Any]]) -> None:
    """Each check in a line, with what came; what to do below, if it is not ok."""
    for row in rows:
        mark = "ok  " if row["ok"] else "FAIL"
        click.echo(f"  {mark} {row['name']:<12}{row['latency']:6.0f} ms  {row['evidence']}")
        if row["remedy"]:
            click.echo(f"       {'':<12}{'':9}  {row['remedy']}")
