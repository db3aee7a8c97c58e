"""`branchline vm create`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import Failure, json_option, print_json, socket_option
from appliance.cli.vm.asking import ask
from appliance.cli.vm.directory import directory
from appliance.cli.vm.progress import ask_with_bar


class _Create(click.Group):
    """What is not the name of a command is that of a recipe."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["recipe", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Create)
def create() -> None:
    """Make a machine from a recipe, `create FILE`, or the branch's directory, `create directory`."""


create.add_command(directory)


@create.command(name="recipe")
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@socket_option
@json_option
def from_recipe(recipe: Path, socket_path: Path, as_json: bool) -> None:
    """Make a machine from a RECIPE (docs/VMHOST.md) and start it; if anything goes wrong, nothing is left of it."""
    try:
        text = recipe.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"{recipe}: cannot be read ({error.strerror})", 2) from None
    except UnicodeDecodeError as error:
        raise Failure(f"{recipe}: is not UTF-8 text (byte {error.start}); save it as UTF-8", 2) from None
    request = {"recipe": text, "file": str(recipe.absolute())}
    if as_json:
        answer = ask(socket_path, "vm_create", **request)
        print_json([answer])
        return
    answer = ask_with_bar(socket_path, "copying disks", "progress", "vm_create", **request)
    slow = f", emulated: {answer['why']}" if answer["accelerator"] != "kvm" else ""
    click.echo(f"{answer['name']} runs{slow}")
