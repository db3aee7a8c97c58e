"""Commands that look on for a while: how long, and how they are told that it is enough."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import click

from appliance.cli.asking import Command
from appliance.cli.parsed import Parsed
from appliance.config import units


def seconds_option(command: Command) -> Command:
    """--seconds: the bound."""
    return click.option(
        "--seconds",
        type=Parsed("TIME", units.duration),
        default="60s",
        show_default=True,
        help="How long. Ctrl-C ends it earlier.",
    )(command)


def told_enough() -> Callable[[], bool]:
    """Whether somebody has asked to end, by Ctrl-C or SIGTERM; what there is until then is worth keeping."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: told.set())
    return told.is_set
