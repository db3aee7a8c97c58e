"""What the commands that ask a running box have in common: where it is, how it fails, how JSON is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from appliance.rpc import Client, RpcError, UnreachableError

DEFAULT_SOCKET = "/run/branchline/control.sock"

Command = TypeVar("Command", bound=Callable[..., Any])

_USAGE = {"config", "bad_request", "not_found"}  # what the person who asks can put right


class Failure(click.ClickException):
    """One clear line on standard error, and an exit status: 1, or 2 if the command or the configuration is wrong."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # a class variable in click's eyes only


def socket_option(command: Command) -> Command:
    """--socket: which box is asked."""
    return click.option(
        "--socket",
        "socket_path",
        type=click.Path(path_type=Path, readable=False),  # asking() says it better
        envvar="BRANCHLINE_SOCKET",
        default=DEFAULT_SOCKET,
        show_default=True,
        show_envvar=True,
        help="Control socket of the box.",
    )(command)


def json_option(command: Command) -> Command:
    """--json: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")(
        command
    )


@contextmanager
def asking(socket_path: Path, *, timeout: float = 10.0) -> Iterator[Client]:
    """A connection to the box; whatever goes wrong becomes a Failure that says what to do."""
    try:
        with Client(socket_path, timeout) as client:
            yield client
    except UnreachableError as error:
        raise Failure(
            f"branchline is not running: {error}. Start it with `branchline run CONFIG`, "
            "or say with --socket where control.sock of its box.run_dir is"
        ) from None
    except PermissionError:
        raise Failure(
            f"you may not use {socket_path}; run this as root or as a member of its group"
        ) from None
    except TimeoutError:
        raise Failure(f"the box at {socket_path} does not answer; see its log") from None
    except RpcError as error:
        raise Failure(error.message, 2 if error.kind in _USAGE else 1) from None


def print_json(objects: Iterable[Any]) -> None:
    """One line each."""
    import msgspec

    for item in objects:
        click.echo(msgspec.json.encode(item).decode())
