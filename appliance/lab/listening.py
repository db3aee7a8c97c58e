"""Starting somebody else's server on a host of the lab and knowing when it listens."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.lab.host import Host
from appliance.lab.tools import LabError

PATIENCE = 15.0


def start(
    host: Host, argv: Sequence[str], port: int, log: Path, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Run a server and return once its TCP port answers; what it says goes to `log`.

    Raises LabError with the end of that when it ends or does not listen within 15 s.
    """
    with log.open("wb") as output:
        process = host.popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
    deadline = time.monotonic() + PATIENCE
    while not _answers(host, port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = log.read_text(errors="replace").strip()[-1000:]
            raise LabError(f"{argv[0]} does not listen on port {port} of the lab's {host.name}: {said}")
        time.sleep(0.02)
    return process


def _answers(host: Host, port: int) -> bool:
    with host.socket() as knocking:
        knocking.settimeout(1.0)
        return knocking.connect_ex((host.v4, port)) == 0
