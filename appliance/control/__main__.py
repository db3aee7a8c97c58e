"""`branchline-control`: started by the supervisor (or systemd)."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from appliance.config import Config, ConfigError, load
from appliance.control.daemon import Control
from appliance.control.kernel import Kernel, KernelError
from appliance.control.memory import give_back
from appliance.notify import Notifier
from appliance.supervisor import PATIENT_SIGNALS


async def _run(source: Path, config: Config) -> None:
    control = Control(source, config, Kernel(Path(config.box.run_dir)), Notifier())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.stop)
    loop.add_signal_handler(signal.SIGHUP, control.reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PATIENT_SIGNALS)  # those that came too early come now
    await control.run()


def main(arguments: list[str]) -> int:
    """`CONFIG [SOURCE]`: start from CONFIG; reload reads SOURCE (CONFIG if not given).

    Exits 2 on a configuration error, 1 when something cannot be had.
    """
    if not 1 <= len(arguments) <= 2:
        print("branchline-control: CONFIG [SOURCE] expected", file=sys.stderr)  # noqa: T201
        return 2
    give_back()
    try:
        asyncio.run(_run(Path(arguments[-1]), load(arguments[0])))
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except (KernelError, OSError, ValueError) as error:
        print(f"branchline-control: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
