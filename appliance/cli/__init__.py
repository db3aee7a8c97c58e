"""The command `branchline`. Each subcommand lives in a file of its own that is imported when it is called."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from appliance.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "run": ("appliance.cli.run", "Run this box until it is told to stop."),
    "status": ("appliance.cli.status", "The box, its peers and what they save, at a glance."),
    "peers": ("appliance.cli.peers", "The peers in detail."),
    "flows": ("appliance.cli.flows", "TCP flows: optimised, or passed and why."),
    "events": ("appliance.cli.events", "What happened."),
    "bypass": ("appliance.cli.bypass", "Let new flows pass untouched: all, a peer's, a rule's."),
    "cache": ("appliance.cli.cache", "The chunk caches: what they hold, whether it is sound; empty them."),
    "reload": ("appliance.cli.reload", "Put the changed configuration file in force."),
    "config": ("appliance.cli.config", "Check a configuration file, or print an example."),
    "capture": ("appliance.cli.capture", "Record one flow, packets and lane frames, for Wireshark."),
    "diagnose": ("appliance.cli.diagnose", "One file for support, without secrets and without payload."),
    "estimate": (
        "appliance.cli.estimate",
        "What Branchline would save of the present traffic, by looking on.",
    ),
    "enrol": ("appliance.cli.enrol", "Make a branch a peer in one step, or cut one off."),
    "vm": ("appliance.cli.vm", "The virtual machines of this box."),
    "key": ("appliance.cli.key", "Make or show a box's key."),
    "codec": ("appliance.cli.codec", "The codec by itself, on given files."),
    "lab": ("appliance.cli.lab", "The simulated network, to try Branchline in."),
}


_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Branchline(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # here, because click would call it a failure
            sys.stdout = None  # Python must not try to flush again
            return 141


def _version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from appliance.version import version

        click.echo(f"branchline {version()}")
        ctx.exit()


@click.command(
    cls=_Branchline, commands_of=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the release."
)
def branchline() -> None:
    """A branch office's WAN traffic with the repeats removed.

    Every command that answers or measures takes --json: one JSON object a line on standard output, nothing else.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole program; its exit status: 0, 1 when something failed, 2 for a wrong command or configuration.

    As a signal would have it: 130 after Ctrl-C, 141 when nobody reads any more (`branchline events | head`).
    """
    try:
        result: Any = branchline.main(arguments, prog_name="branchline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:
        if not error.filename and error.errno not in _FULL:
            raise
        what = f"{error.filename}" if error.filename else "cannot write"
        click.echo(f"Error: {what}: {error.strerror}", err=True)
        return 1
    return result if isinstance(result, int) else 0
