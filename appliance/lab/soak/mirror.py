"""rsync: its daemon, a directory mirrored from it and another one to it, mostly what has changed, at times all."""

import shutil
from pathlib import Path

from appliance.lab.listening import start
from appliance.lab.network import Lab
from appliance.lab.soak import programs
from appliance.lab.soak.documents import Shelf, compare
from appliance.lab.tools import find

PORT = 873
ALL_EVERY = 5  # turns


class Mirror:
    name = "rsync"

    def __init__(self, lab: Lab, directory: Path, first: int) -> None:
        self._client = lab.client
        self._shelf = Shelf(directory / "offered", first)
        self._got, self._returned = directory / "got", directory / "returned"
        config = directory / "rsyncd.conf"
        lines = ["use chroot = no", "uid = root", "gid = root", "read only = no", "reverse lookup = no"]
        lines += [
            "[offered]",
            f"path = {self._shelf.directory}",
            "[returned]",
            f"path = {self._returned}",
            "",
        ]
        config.write_text("\n".join(lines))
        self._rsync = find("rsync")
        argv = [self._rsync, "--daemon", "--no-detach", f"--config={config}", f"--port={PORT}"]
        start(lab.server, argv, PORT, directory / "log")
        self._url = f"rsync://{lab.server.v4}"
        self._turns = 0

    def turn(self) -> int:
        if self._turns % ALL_EVERY == 0:
            for target in (self._got, self._returned):
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir()
        self._turns += 1
        self._shelf.turn()
        argv = [self._rsync, "--archive", "--delete", "--timeout=100"]
        programs.run(self._client, [*argv, f"{self._url}/offered/", f"{self._got}/"])
        programs.run(self._client, [*argv, f"{self._got}/", f"{self._url}/returned/"])
        there = sorted(self._shelf.directory.iterdir())
        return sum(
            compare(there, [target / path.name for path in there]) for target in (self._got, self._returned)
        )

    def close(self) -> None:
        """Every turn has its own connections."""
