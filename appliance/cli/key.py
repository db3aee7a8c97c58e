"""`branchline key`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance import identity
from appliance.cli.asking import Failure, asking, json_option, print_json, socket_option

DEFAULT_KEY = "/etc/branchline/box.key"


@click.group()
def key() -> None:
    """Make or show a box's key. Peers know the box by it."""


@key.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_KEY)
@json_option
def new(file: Path, as_json: bool) -> None:
    """Make a new key in FILE and print its public line. An existing file is left alone."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _print(identity.create(file), as_json)
    except FileExistsError:
        raise Failure(f"{file} exists already; move it away if the box is to have a new identity") from None
    except OSError as error:
        raise Failure(
            f"{file} cannot be written ({error.strerror}); run this as root or name another file"
        ) from None


@key.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_KEY)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print the public line of the key in FILE, for `peers.key` on the other boxes."""
    try:
        _print(identity.load_identity(file), as_json)
    except identity.IdentityError as error:
        raise Failure(str(error)) from None


@key.command()
@socket_option
@json_option
def rotate(socket_path: Path, as_json: bool) -> None:
    """Give the running box a new key, without touching a flow.

    Its peers are told over the sessions that the old key has proved; when all of them take it, it is put in place.
    """
    with asking(socket_path) as box:
        answer = box.call("key_rotate")
    if as_json:
        print_json([answer])
        return
    click.echo(f"the next key is {answer['fingerprint']}")
    if answer["waiting"]:
        click.echo(f"it comes into use when these peers have taken it: {', '.join(answer['waiting'])}")


def _print(box: identity.Identity, as_json: bool) -> None:
    name = identity.fingerprint(box.certificate)
    if as_json:
        print_json([{"file": str(box.path), "public": box.public, "fingerprint": name}])
    else:
        click.echo(box.public)
        click.echo(f"fingerprint {name}", err=True)
