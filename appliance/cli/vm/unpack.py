"""`branchline vm unpack`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import Failure, json_option, print_json


@click.command()
@click.argument("ova", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def unpack(ova: Path, directory: Path, as_json: bool) -> None:
    """Make a DIRECTORY with the disks of an OVA and a recipe to read over, then to `create` from.

    The manifest is verified; what of the hardware has no place in a recipe is listed.
    """
    from rich.console import Console
    from rich.progress import Progress

    from vmhost.errors import VmError
    from vmhost.ova import unpack as unpacked

    try:
        with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
            task = bar.add_task("unpacking", total=1.0)
            found = unpacked(ova, directory.absolute(), lambda part: bar.update(task, completed=part))
    except VmError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json([{"recipe": str(found.recipe), "verified": found.verified, "unmapped": found.unmapped}])
        return
    click.echo(f"recipe: {found.recipe}")
    if not found.verified:
        click.echo("not verified: there is no manifest in it")
    for one in found.unmapped:
        click.echo(f"left out: {one}")
