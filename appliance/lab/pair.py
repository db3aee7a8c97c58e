"""The two Branchlines of a lab, as an administrator would run them: a key, a file and `branchline run` each."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from appliance import identity
from appliance.config.written import Table, toml
from appliance.lab import namespace, topology
from appliance.lab.cpu import cpu_seconds_inside
from appliance.lab.host import Host
from appliance.lab.network import Lab
from appliance.lab.running import Running
from appliance.lab.tools import LabError
from appliance.lab.workspace import Workspace
from appliance.rpc import Client, RpcError, UnreachableError

Part = Literal["supervisor", "control", "data"]
LANE_PORT = 4001
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0
POLL = 0.02
EAGER: tuple[Table, ...] = ({"name": "lab", "ports": ["1-65535"], "eager": True},)


def _paths(peer: str, wans: int, rate: int, *, dials: bool) -> list[Any]:
    """[[peers.paths]] to the peer's host, called as the lab calls its WANs."""
    addresses = (topology.WAN_ADDRESS, topology.WAN2_ADDRESS)
    return [
        {
            "name": name,
            "rate": rate,
            "interface": f"wan{number}",
            "dial": [f"{address[peer][0]}:{LANE_PORT}"] if dials else [],
        }
        for number, (name, address) in enumerate(zip(topology.WANS, addresses, strict=True))
    ][:wans]


@dataclass
class Side:
    """What a box's file says beyond the ordinary: fields added to [box], to its peer, and to [limits].

    A lab's boxes stop at once, whatever flows are open, unless `drain` says otherwise.
    """

    box: dict[str, Any] = field(default_factory=dict)
    peer: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)


class Box:
    """One Branchline in its namespace. Its files are in `directory`: box.key, box.toml, box.log, run/, state/."""

    def __init__(self, host: Host, box_id: str, directory: Path) -> None:
        self.host = host
        self.id = box_id
        self.directory = directory
        self.config = directory / "box.toml"
        self.log = directory / "box.log"
        self.run_dir = directory / "run"
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(mode=0o700)
        self.identity = identity.create(directory / "box.key")

    def write(self, peer: "Box", rules: Sequence[Table], side: Side, rate: int = 0, wans: int = 1) -> None:
        """The configuration file; the running box is told by reload()."""
        branch = self.host.name == "branch"
        box = {
            "id": self.id,
            "lan": ["lan0"],
            "wan": [f"wan{number}" for number in range(wans)],
            "prefixes": list(topology.PREFIXES[self.host.name]),
            "key": str(self.directory / "box.key"),
            "listen": [] if branch else [f"0.0.0.0:{LANE_PORT}", f"[::]:{LANE_PORT}"],
            "state_dir": str(self.directory / "state"),
            "run_dir": str(self.run_dir),
        }
        other = {
            "id": peer.id,
            "key": peer.identity.public,
            "prefixes": list(topology.PREFIXES[peer.host.name]),
            "paths": _paths(peer.host.name, wans, rate, dials=branch),
        }
        tables: dict[str, Table | Sequence[Table]] = {
            "box": box | side.box,
            "peers": [other | side.peer],
            "rules": rules,
        }
        tables["limits"] = {"drain": "0s"} | side.limits
        self.config.write_text(toml(tables))

    def start(self) -> None:
        """`branchline run` in the box's namespace; returns at once, see wait()."""
        with self.log.open("ab") as log:
            self.process = self.host.python(
                "appliance.cli",
                "run",
                str(self.config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def call(self, method: str, *, plane: Literal["control", "data"] = "control", **params: Any) -> Any:
        """A request to the box's control (or data) socket; raises UnreachableError, RpcError, TimeoutError."""
        with Client(self.run_dir / f"{plane}.sock") as client:
            return client.call(method, **params)

    def status(self) -> dict[str, Any]:
        answer = self.call("status")
        assert isinstance(answer, dict)
        return answer

    def events(self, **params: Any) -> list[dict[str, Any]]:
        """Those so far, the data plane's too: when it has answered, control has all that it told before."""
        self.status()
        answer = self.call("events", **params)
        assert isinstance(answer, list)
        return answer

    def flows_intercepted(self) -> int:
        """Connections that the data plane has taken in hand since it started."""
        return int(self.call("status", plane="data")["flows_intercepted"])

    def peer_state(self) -> str:
        """State of the other box as this one sees it ("up", "down", …), "unreachable" when nobody answers."""
        try:
            peers = self.call("peers")
        except (UnreachableError, FileNotFoundError, TimeoutError, RpcError):
            return "unreachable"
        return str(peers[0]["state"]) if peers else "unreachable"

    def wait(self, condition: Callable[[], bool], what: str, within: float = START_TIMEOUT) -> None:
        """Poll until the condition holds; raises LabError with the end of the log if it does not or the box ends."""
        deadline = time.monotonic() + within
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                raise LabError(
                    f"box {self.id} ended with status {self.process.returncode}:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise LabError(f"box {self.id}: {what}: not within {within:.0f} s\n{self.log_tail()}")
            time.sleep(POLL)

    def pids(self, part: Part) -> list[int]:
        """Processes of one part of the box, by what they were started as."""
        if part == "supervisor":
            running = self.process is not None and self.process.poll() is None
            return [self.process.pid] if self.process is not None and running else []
        found = []
        for pid in namespace.processes([self.host.netns]):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if f"appliance.{part}".encode() in words:
                found.append(pid)
        return found

    def signal(self, part: Part, number: signal.Signals) -> int:
        """Send a signal to a part (SIGKILL, SIGSTOP, …); returns its pid. LookupError when it does not run."""
        pids = self.pids(part)
        if not pids:
            raise LookupError(f"no {part} of box {self.id} runs")
        for pid in pids:
            os.kill(pid, number)
        return pids[0]

    def cpu_seconds(self) -> float:
        """CPU seconds of all that runs in the box since it was started."""
        return cpu_seconds_inside(self.host.netns)

    def log_tail(self, lines: int = 30) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> int:
        """Orderly stop; returns the exit status. LabError when it takes more than 10 s, then it is killed."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            namespace.kill_processes([self.host.netns])
            raise LabError(
                f"box {self.id} did not stop within {STOP_TIMEOUT:.0f} s\n{self.log_tail()}"
            ) from None
        finally:
            self.process = None


class Pair(Running):
    """A Branchline on each side of a lab's WAN, optimising every port from the first flow on unless told otherwise.

    rules: the [[rules]] of both files. branch, dc: what their files say beyond that (see Side).
    rate: what both call the rate of the WAN, bytes/s; 0: not known.
    As a context manager it is up when the block begins, and stopped, files and all, when it ends.
    """

    def __init__(
        self,
        lab: Lab,
        rules: Sequence[Table] = EAGER,
        branch: Side | None = None,
        dc: Side | None = None,
        rate: int = 0,
    ) -> None:
        self.lab = lab
        self._workspace = Workspace()
        self.directory = self._workspace.path
        self.branch = Box(lab.branch, "branch-1", self.directory / "branch")
        self.dc = Box(lab.dc, "dc", self.directory / "dc")
        self.branch.write(self.dc, rules, branch or Side(), rate, len(lab.wans))
        self.dc.write(self.branch, rules, dc or Side(), rate, len(lab.wans))

    @property
    def boxes(self) -> tuple[Box, Box]:
        return self.branch, self.dc

    def start(self) -> None:
        """Start both and wait until each sees the other up."""
        for box in (self.dc, self.branch):
            box.start()
        self.wait_up()

    def wait_up(self, within: float = START_TIMEOUT) -> None:
        for box in self.boxes:
            box.wait(lambda box=box: box.peer_state() == "up", "its peer is up", within)  # type: ignore[misc]

    def stop(self) -> None:
        """Orderly stop of both, the branch first; their files stay until close()."""
        try:
            self.branch.stop()
        finally:
            self.dc.stop()

    def logs(self) -> dict[str, str]:
        """What the boxes have written so far, by box id."""
        return {box.id: box.log.read_text(errors="replace") for box in self.boxes if box.log.exists()}

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._workspace.close()
