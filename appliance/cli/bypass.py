"""`branchline bypass`"""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.asking import asking, json_option, print_json, socket_option


@click.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.argument("name", required=False)
@click.option("--peer", help="NAME is a peer, if it could be either.")
@click.option("--rule", help="NAME is a rule, if it could be either.")
@socket_option
@json_option
def bypass(
    switch: str, name: str | None, peer: str | None, rule: str | None, socket_path: Path, as_json: bool
) -> None:
    """Let new flows pass untouched: all of them, or those of the peer or rule NAME.

    It holds until it is switched off, also over restarts. Flows that are optimised now go on. `bypass off` without a
    NAME ends every bypass.
    """
    if sum(word is not None for word in (name, peer, rule)) > 1:
        raise click.UsageError("say one of NAME, --peer and --rule")
    what = {
        key: value for key, value in (("name", name), ("peer", peer), ("rule", rule)) if value is not None
    }
    with asking(socket_path) as box:
        answer = box.call("bypass", on=switch == "on", **what)
    if answer.get("unsaved"):
        click.echo(f"Warning: a restart will forget this: {answer['unsaved']}", err=True)
    if as_json:
        print_json([answer])
        return
    click.echo(f"bypassed now: {describe(answer['bypass'])}")


def describe(state: dict[str, object]) -> str:
    """The bypass of a box in words."""
    if state.get("all"):
        return "everything"
    named = [
        f"{kind} {', '.join(map(str, names))}"
        for kind in ("peers", "rules")
        if (names := _list(state.get(kind)))
    ]
    return "; ".join(named) or "nothing"


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
