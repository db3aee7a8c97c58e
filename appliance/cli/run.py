"""`branchline run`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from appliance.cli.asking import Failure
from appliance.config import ConfigError, load
from appliance.config.accepted import write_accepted

_DATA_WATCHDOG_S = 3.0  # a data plane that hangs is killed in at most 5 s
_CONTROL_WATCHDOG_S = 10.0


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
def run(config: Path) -> int:
    """Run this box with the file CONFIG until SIGTERM or Ctrl-C; SIGHUP reloads the file.

    What is wrong with the file or the machine is said before anything is changed.
    """
    from appliance.preflight import StartError, check, lock, make_directories
    from appliance.spread import parts
    from appliance.supervisor import Program, Supervisor

    source = config.absolute()
    try:
        wanted = load(source)
        check(wanted)
        make_directories(wanted)
        with lock(wanted):
            accepted = write_accepted(wanted)
            # They start from what is in force; the file is for reloads, and for whoever looks at `ps`.
            files = (str(accepted), str(source))
            python = (sys.executable, "-m")
            programs = [
                Program(
                    "control",
                    (*python, "appliance.control", *files),
                    _CONTROL_WATCHDOG_S,
                    essential=True,
                    patient=True,
                ),
                *(
                    Program(
                        part.name,
                        (*python, "appliance.data", *files, str(part.number)),
                        _DATA_WATCHDOG_S,
                        beside=part.number > 1,
                    )
                    for part in parts(wanted.box.processes)
                ),
            ]
            return Supervisor(programs, Path(wanted.box.run_dir)).run()
    except ConfigError as error:
        raise Failure(str(error), 2) from None
    except StartError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"cannot start: {error}") from None
