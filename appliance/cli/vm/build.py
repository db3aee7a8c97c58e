"""`branchline vm build`: on a build host, without a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from appliance.cli.asking import Failure, json_option, print_json
from vmhost.recipe import Arch

_MACHINES = {"x86_64": "x86-64", "aarch64": "arm64"}


@click.group()
def build() -> None:
    """Make the signed system that the branch's directory server runs. On a build host; no box is needed."""


@build.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def key(file: Path, as_json: bool) -> None:
    """Make the private key FILE that bundles are signed with, and print its public line for `vm.trusted_keys`.

    Of a file that is there the public line is printed.
    """
    from vmhost.directory import signing
    from vmhost.errors import VmError

    try:
        public = signing.public(file) if file.exists() else signing.create(file)
    except VmError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json([{"file": str(file), "public": public}])
    else:
        click.echo(public)


@build.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key", "key_file", type=click.Path(path_type=Path), required=True, help="It is signed with that."
)
@click.option(
    "--arch", type=click.Choice(get_args(Arch)), help="Of the guest; this machine's own if left out."
)
@click.option(
    "--base",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the installed packages in this file, and build from it next time instead of fetching them anew.",
)
@json_option
def directory(bundle: Path, key_file: Path, arch: Arch | None, base: Path | None, as_json: bool) -> None:
    """Make the directory BUNDLE from the Debian packages of this machine's own apt sources. As root.

    With SOURCE_DATE_EPOCH set and the same packages, the same bundle is made again.
    """
    import platform

    from rich.console import Console
    from rich.progress import Progress

    from vmhost.directory.building import build as built
    from vmhost.errors import VmError

    own: Any = _MACHINES.get(platform.machine(), "x86-64")
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("starting", total=1.0)
        try:
            made = built(
                bundle.absolute(),
                key_file,
                arch or own,
                base,
                lambda text, part: bar.update(task, description=text, completed=part),
            )
        except VmError as error:
            raise Failure(str(error)) from None
    size = sum(file.size for file in made.files.values())
    answer = {"bundle": str(bundle), "version": made.version, "arch": made.arch, "size": size}
    if as_json:
        print_json([{**answer, "packages": made.packages}])
        return
    from appliance.cli import tables

    click.echo(
        f"{bundle}: version {made.version}, {made.arch}, {tables.size(size)}, {len(made.packages)} packages"
    )
