"""A real data centre's box with many branches, which share one process: for tests and measurements of many peers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance import identity
from appliance.config.written import Table, toml
from appliance.lab import branches
from appliance.lab.network import Lab
from appliance.lab.pair import LANE_PORT, Box
from appliance.lab.running import Running
from appliance.lab.topology import WAN_ADDRESS
from appliance.lab.workspace import Workspace
from appliance.rpc import RpcError

UP_S = 60.0
CACHE = "16MiB"
WINDOWS = 0.5  # of limits.memory, besides, for compression


class Hub(Running):
    """`count` branches and their centre; as a context manager all lanes are up when the block begins.

    absent: branches more that the centre expects, with keys, and that somebody else may play.
    """

    def __init__(
        self,
        lab: Lab,
        count: int,
        limits: dict[str, Any] | None = None,
        rate: int = 0,
        line: int = 0,
        processes: int = 1,
        absent: int = 0,
    ) -> None:
        """`rate`: of each branch's line; `line`: of the centre's own; bytes/s, 0: not known.

        `processes`: data processes of the centre.
        """
        self._processes = processes
        self.count = count
        self._rate = rate
        self._line = line
        self.alone = 0
        """resident() before there were lanes."""
        self._lab = lab
        self._workspace = Workspace()
        directory = self._workspace.path
        self.box = Box(lab.dc, "dc", directory / "dc")
        self.keys = directory / "keys"
        """N.key of each branch, and centre.pub."""
        self.keys.mkdir()
        (self.keys / "centre.pub").write_text(self.box.identity.public)
        self._peers = [self._peer(number) for number in range(count + absent)]
        self._limits = limits or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.write()

    def write(self, *, without: frozenset[int] = frozenset()) -> None:
        """The centre's configuration, for start or reload."""
        address, _ = WAN_ADDRESS["dc"]
        box = {
            "id": "dc",
            "lan": ["lan0"],
            "wan": ["wan0"],
            "prefixes": ["10.2.0.0/16"],
            "key": str(self.box.directory / "box.key"),
            "listen": [f"{address}:{LANE_PORT}"],
            "state_dir": str(self.box.directory / "state"),
            "run_dir": str(self.box.run_dir),
            "heartbeat": branches.HEARTBEAT_S,
            "wan_rates": [self._line] if self._line else [],
            "processes": self._processes,
        }
        peers = [peer for number, peer in enumerate(self._peers) if number not in without]
        limits = {"drain": "0s"} | self._limits
        tables: dict[str, Table | Sequence[Table]] = {"box": box, "peers": peers, "limits": limits}
        self.box.config.write_text(toml(tables))

    def start(self) -> None:
        """The centre, then the branches; returns when all are up at both ends."""
        self.box.start()
        self.box.wait(self._runs, "it runs")
        self.alone = self.resident()
        self.join()
        self.box.wait(lambda: self.up() == self.count, "all branches are up", UP_S)

    def _runs(self) -> bool:
        try:
            data = self.box.status()["data"]
            return bool(data["up"] and not data["reason"])
        except (OSError, RpcError):
            return False

    def join(self) -> None:
        """The process of the branches."""
        address, _ = WAN_ADDRESS["dc"]
        words = (str(self.keys), address, str(LANE_PORT), str(self.count))
        self._process = self._lab.branch.python(
            "appliance.lab.branches", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def up(self) -> int:
        """Peers that the centre sees up."""
        return sum(peer["state"] == "up" for peer in self.box.call("peers"))

    def open(self, branch: int, flows: int, server: tuple[str, int]) -> None:
        """So many downloads without end of a branch."""
        self._tell(do="open", branch=branch, flows=flows, server=list(server))

    def shut(self, branch: int) -> None:
        """The branch's clients go away."""
        self._tell(do="close", branch=branch)

    def look(self) -> list[dict[str, Any]]:
        """State, bytes received and open flows of each branch, as it sees them itself."""
        answer = self._tell(do="look")
        assert isinstance(answer, list)
        return answer

    def resident(self) -> int:
        """Bytes of RAM that are the data plane's alone; pages of files, which the kernel can take back, are not."""
        return sum(map(_resident, self.box.pids("data")))

    def budget(self) -> float:
        """Bytes of RAM that the configuration allows the data plane, beside what it is without peers."""
        memory = int(self.box.call("config")["limits"]["memory"])
        indexes = int(self.box.call("cache")["totals"]["index_limit"])
        return memory * (1 + WINDOWS) + indexes

    def per_peer(self) -> float:
        """Bytes of RAM for each peer, beside the index memory, which has a budget of its own."""
        return (self.resident() - self.alone) / self.count

    def close(self) -> None:
        try:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self.box.stop()
        finally:
            self._workspace.close()

    def _peer(self, number: int) -> dict[str, Any]:
        own = identity.create(self.keys / f"{number}.key")
        return {
            "id": branches.name(number),
            "key": own.public,
            "prefixes": [branches.prefix(number)],
            "source": "box",
            "cache": CACHE,
            "paths": [{"rate": self._rate}],
        }

    def _tell(self, **command: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
