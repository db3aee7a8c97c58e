"""HTTP: Python's own web server, and curl, which fetches several documents over one connection."""

import sys
from pathlib import Path

from appliance.lab.listening import start
from appliance.lab.network import Lab
from appliance.lab.soak import programs
from appliance.lab.soak.documents import Shelf, compare
from appliance.lab.tools import find

PORT = 80


class Web:
    name = "http"

    def __init__(self, lab: Lab, directory: Path, first: int) -> None:
        self._client = lab.client
        self._shelf = Shelf(directory / "offered", first)
        self._got = directory / "got"
        self._got.mkdir()
        self._url = f"http://{lab.server.v4}:{PORT}"
        argv = [sys.executable, "-m", "http.server", "--protocol", "HTTP/1.1", "--directory"]
        start(lab.server, [*argv, str(self._shelf.directory), str(PORT)], PORT, directory / "log")

    def turn(self) -> int:
        wanted = self._shelf.turn()
        got = [self._got / path.name for path in wanted]
        argv = [find("curl"), "--silent", "--show-error", "--fail"]
        for path, target in zip(wanted, got, strict=True):
            argv += ["--output", str(target), f"{self._url}/{path.name}"]
        try:
            programs.run(self._client, argv)
            return compare(wanted, got)
        finally:
            for target in got:
                target.unlink(missing_ok=True)

    def close(self) -> None:
        """Every turn has its own connections."""
