"""`branchline vm stage directory`: at the centre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from appliance.cli.asking import Failure, json_option, print_json
from vmhost.directory import staged


def _checked(check: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback of one of `staged`'s checks, for one value or several."""

    def callback(ctx: click.Context, option: click.Parameter, value: Any) -> Any:  # noqa: ARG001 - click's signature
        try:
            if isinstance(value, tuple):
                return [check(one) for one in value]
            return None if value is None else check(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


@click.group()
def stage() -> None:
    """Prepare at the centre what a branch's machine will need, where an administrator is."""


@stage.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--realm", required=True, callback=_checked(staged.realm), help="The domain, like ad.example.com."
)
@click.option(
    "--host", required=True, callback=_checked(staged.host), help="Name of the branch's controller."
)
@click.option("--role", type=click.Choice(["rodc", "dc"]), default="rodc", show_default=True)
@click.option(
    "--site", callback=_checked(staged.site), help="The branch's site; it is made if there is none."
)
@click.option("--address", callback=_checked(staged.address), help="The controller's, like 10.1.0.10/24.")
@click.option("--gateway", default="", help="The controller's default gateway.")
@click.option(
    "--subnet", "subnets", multiple=True, callback=_checked(staged.subnet), help="A network of the site."
)
@click.option("--allow", multiple=True, help="User or group whose passwords an RODC may keep.")
@click.option("--deny", multiple=True, help="User or group whose passwords an RODC never keeps.")
@click.option("--prefetch", multiple=True, help="User or group whose passwords an RODC fetches by itself.")
@click.option(
    "--time",
    multiple=True,
    callback=_checked(staged.server),
    help="NTP server; the centre's controllers if left out.",
)
@click.option(
    "--server", default="", help="Controller of the centre that is asked; found by DNS if left out."
)
@click.option(
    "--user", default="", help="Administrator, whose password is asked for; else a ticket of kinit is used."
)
@click.option(
    "--password-file", type=click.File(), help="Where the administrator's password is, for scripts."
)
@click.option("--again", is_flag=True, help="Make an account anew that is there already.")
@click.option(
    "--remove",
    is_flag=True,
    help="Take the controller out of the domain, say whose passwords it has, and delete FILE.",
)
@json_option
def directory(file: Path, user: str, password_file: Any, remove: bool, as_json: bool, **given: Any) -> None:
    """Make the account of a branch's domain controller, and FILE for `branchline vm create directory` there.

    FILE holds a password that is good for one join: treat it as such.
    """
    from vmhost.directory import centre
    from vmhost.errors import VmError

    if given["role"] == "dc" and (given["prefetch"] or given["allow"] or given["deny"]):
        raise Failure(
            "--prefetch, --allow and --deny are for an RODC: a dc has all passwords of the domain", 2
        )
    if not remove and not (given["site"] and given["address"]):
        raise Failure("--site and --address are needed: where the branch's controller will be", 2)
    if given["address"]:
        try:
            staged.gateway(given["gateway"], given["address"])
        except ValueError as error:
            raise Failure(f"--gateway: {error}", 2) from None
    if file.exists() and not given["again"] and not remove:
        raise Failure(f"{file} is there already; --again replaces it and makes the account anew", 2)
    if not file.absolute().parent.is_dir():
        raise Failure(f"{file.absolute().parent}: there is no such directory", 2)
    password = ""
    if password_file is not None:
        password = password_file.readline().rstrip("\n")
    elif user:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    try:
        answer = centre.ask(
            {"do": "remove" if remove else "stage", "user": user, "password": password, **given}
        )
        if remove:
            file.unlink(missing_ok=True)
        else:
            staged.write(file, answer, again=given["again"])
    except VmError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}; the account is made, --again with another FILE") from None
    if as_json:
        print_json([{name: value for name, value in answer.items() if name not in ("password", "health")}])
    elif remove:
        click.echo(f"{given['host']} is no controller of {given['realm']} any more")
        if answer["revealed"]:
            click.echo(
                f"Change these passwords if others may have its disks: {', '.join(answer['revealed'])}"
            )
    else:
        click.echo(
            f"{given['host']} may join {given['realm']} with {file}, once; `branchline vm create directory` there"
        )
