"""`branchline enrol`"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Failure, asking, json_option, print_json, socket_option

DEFAULT_CONFIG = "/etc/branchline/branchline.toml"
_DECISION_S = 60.0


@click.group()
def enrol() -> None:
    """Make a branch a peer in one step, or cut one off.

    At the centre `branchline enrol invite BRANCH` prints a token; at the branch `branchline enrol join` takes it.
    """


@enrol.command()
@click.argument("branch")
@click.option(
    "--prefix", "prefixes", multiple=True, help="A prefix of the branch; repeatable. Else: what it says."
)
@click.option(
    "--dial",
    multiple=True,
    help="Where the branch reaches this box, ADDRESS:PORT; repeatable. Else: box.listen.",
)
@click.option("--life", default="1h", show_default=True, help="How long the token is good.")
@socket_option
@json_option
def invite(
    branch: str, prefixes: tuple[str, ...], dial: tuple[str, ...], life: str, socket_path: Path, as_json: bool
) -> None:
    """Print a token with which one box may become the peer BRANCH, once.

    Whoever has the token can be that branch: hand it over as you would a password.
    """
    from appliance.config.units import Duration

    try:
        seconds = float(Duration.parse(life))
    except ValueError as error:
        raise Failure(str(error), 2) from None
    with asking(socket_path) as box:
        answer = box.call(
            "enrol_invite", branch=branch, prefixes=list(prefixes), dial=list(dial), life=seconds
        )
    if as_json:
        print_json([answer])
        return
    click.echo(answer["token"])
    click.echo(f"good once, until {_moment(answer['expires'])}; on the box of {branch}:", err=True)
    click.echo("    branchline enrol join --lan INTERFACE --wan INTERFACE", err=True)


@enrol.command(name="list")
@socket_option
@json_option
def list_(socket_path: Path, as_json: bool) -> None:
    """The invitations: open, taken, expired."""
    with asking(socket_path) as box:
        answer = box.call("enrol_list")
    if as_json:
        print_json(answer)
        return
    from appliance.cli import tables

    made = tables.table("branch", "state", "until", "prefixes", "key")
    for entry in answer:
        row = (entry["branch"], entry["state"], _moment(entry["expires"]), " ".join(entry["prefixes"]))
        made.add_row(*row, entry["taken_by"])
    tables.console().print(made)


@enrol.command()
@click.argument("branch")
@socket_option
@json_option
def withdraw(branch: str, socket_path: Path, as_json: bool) -> None:
    """Make the token of BRANCH worthless."""
    with asking(socket_path) as box:
        answer = box.call("enrol_withdraw", branch=branch)
    if as_json:
        print_json([answer])
    else:
        click.echo(f"{branch} is not invited any more")


@enrol.command()
@click.argument("peer")
@click.confirmation_option(prompt="Its open flows are reset, and its key is refused for ever. Revoke it?")
@socket_option
@json_option
def revoke(peer: str, socket_path: Path, as_json: bool) -> None:
    """Refuse the key of PEER from now on: its lanes are cut and its flows reset at once."""
    with asking(socket_path) as box:
        answer = box.call("enrol_revoke", peer=peer)
    if as_json:
        print_json([answer])
        return
    click.echo(f"the key of {peer} is revoked: {answer['fingerprint']}")
    if answer["data"] != "told":
        click.echo(f"the data plane: {answer['data']}")
    if answer["unsaved"]:
        click.echo(f"a restart will forget it: {answer['unsaved']}; mend that and revoke it again")
    if answer["left"]:
        click.echo(answer["left"])


@enrol.command()
@click.argument("token", required=False)
@click.option("--config", type=click.Path(path_type=Path), default=DEFAULT_CONFIG, show_default=True)
@click.option("--lan", multiple=True, help="Interface towards the site's hosts, for a new configuration.")
@click.option("--wan", multiple=True, help="Interface towards the WAN, for a new configuration.")
@json_option
def join(token: str | None, config: Path, lan: tuple[str, ...], wan: tuple[str, ...], as_json: bool) -> None:
    """Make this box the branch that TOKEN invites (asked for, or read from standard input, if it is not given).

    Makes the box's key if there is none, and the file --config if there is none; a running box takes the centre as a
    peer at once. If something goes wrong, put it right and run the same command again.
    """
    from appliance.config import ConfigError
    from appliance.enrolment.branch import Site, enrolled
    from appliance.enrolment.joining import JoinError
    from appliance.enrolment.token import Token, TokenError
    from appliance.identity import IdentityError

    if token is None:
        asked = sys.stdin.isatty()
        token = click.prompt("Token", hide_input=True, err=True) if asked else sys.stdin.readline()
    try:
        made = enrolled(Token.parse(str(token)), Site(config.absolute(), lan, wan))
    except TokenError as error:
        raise Failure(str(error), 2) from None
    except ConfigError as error:
        raise Failure(str(error), 2) from None
    except (JoinError, IdentityError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(
            f"{error.filename or config}: {error.strerror}; put that right and run the same command again"
        ) from None
    told = _reload(made.run_dir / "control.sock")
    answer: dict[str, Any] = {
        "box": made.box,
        "centre": made.centre,
        "fingerprint": made.fingerprint,
        "config": str(config),
        "peer_file": str(made.peer_file),
        "running": told,
    }
    if as_json:
        print_json([answer])
        return
    click.echo(f"this box is {made.box}, its centre is {made.centre}; written: {made.peer_file}")
    if not told:
        click.echo(f"start it: branchline run {config}")


def _reload(control: Path) -> bool:
    """Whether a running box has been told."""
    from appliance.rpc import Client, UnreachableError

    try:
        Client(control).close()
    except UnreachableError:
        return False
    with asking(control) as box:
        box.call("reload")
    return True


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
