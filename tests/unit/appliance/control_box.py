"""A real control plane in a thread, with a kernel and a data plane that are kept in memory."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from appliance.bypass import Bypass
from appliance.config import Config, ConfigError, from_dict, load
from appliance.control.daemon import Control
from appliance.control.kernel import Kernel, KernelError
from appliance.control.shaping import Link
from appliance.events import Event
from appliance.flows.reasons import RULE_PASS, reason
from appliance.identity import create
from appliance.intercept.passed import PassedFlow
from appliance.intercept.specs import BoxSpec
from appliance.notify import Notifier
from appliance.rpc import Client, Params, RpcError, UnreachableError
from appliance.rpc_asyncio import AsyncHandler, Server
from appliance.trust import Trust

DEADLINE_S = 10.0
PASSED = PassedFlow(
    ("10.1.0.2", 40000), ("10.2.0.9", 5060), reason(RULE_PASS), 111, 222, "established", 300.0, 1e9
)


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll `condition` up to the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.005)


class KernelInMemory(Kernel):
    """Keeps what it is told to put in place. The real one is tested in namespaces (tests/lab/test_control.py)."""

    def __init__(self) -> None:
        self.spec: BoxSpec | None = None
        self.objection = ""
        self.links: tuple[Link, ...] = ()
        self.carried = 0

    async def open(self, spec: BoxSpec) -> None:
        await self.apply(spec)

    async def apply(self, spec: BoxSpec) -> None:
        if self.objection:
            raise KernelError(self.objection)
        self.spec = spec

    async def restore(self, spec: BoxSpec) -> list[str]:
        found = [] if self.spec == spec else ["the table of fates"]
        self.spec = spec
        return found

    async def shape(self, links: tuple[Link, ...], spec: BoxSpec) -> None:
        self.links = links

    async def shaped(self, links: tuple[Link, ...]) -> bool:
        return self.links == links

    async def sent(self) -> dict[str, int]:
        self.carried += 1_000_000
        return {"wan0": self.carried}

    async def sent_in(self, interface: str) -> dict[int, int]:
        return dict.fromkeys(range(1 << 8), self.carried)

    async def counters(self) -> dict[str, int]:
        return {"closed": 3, "plain": 0}

    async def passed(self, limit: int) -> list[PassedFlow]:
        return [PASSED][:limit]

    async def remove(self) -> None:
        self.spec = None


class DataInMemory:
    """What a data plane answers; it keeps what it is told. `objection` is its answer to the next change."""

    peers: tuple[dict[str, Any], ...] = (
        {
            "id": "dc",
            "state": "up",
            "reason": "",
            "since": 0.0,
            "rtt_s": 0.02,
            "streams": 1,
            "paths": [
                {"name": "mpls", "state": "up", "used": True, "remote": "10.9.0.2 4001", "rate": 2_500_000},
                {"name": "lte", "state": "down", "reason": "3 probes were not answered", "metered": True},
            ],
            "lanes": [
                {
                    "name": "bulk",
                    "path": "mpls",
                    "carries": True,
                    "remote": "10.9.0.2 4001",
                    "bytes_in": 10,
                    "bytes_out": 5,
                }
            ],
            "lan_in": 600,
            "lan_out": 400,
            "wan_in": 60,
            "wan_out": 40,
        },
    )

    def __init__(self, path: Path) -> None:
        self.config: Config | None = None
        self.bypass: Bypass | None = None
        self.trust: Trust | None = None
        self.enrol_answers: list[Params] = []
        self.objection: RpcError | None = None
        self._path = path
        self.depths: list[float] = []
        self.handlers: dict[str, AsyncHandler] = {
            "status": self._status,
            "peers": self._peers,
            "flows": self._flows,
            "reload": self._reload,
            "bypass": self._bypass,
            "trust": self._trust,
            "enrol_answer": self._enrol_answer,
            "keys": self._keys,
            "sound": self._sound,
        }
        self.server = Server(self.handlers, lambda method, error: None)

    async def start(self) -> None:
        await self.server.start(self._path)

    async def stop(self) -> None:
        await self.server.close()
        self._path.unlink()

    async def _status(self, _: Params) -> dict[str, Any]:
        totals = {"lan_in": 600, "lan_out": 400, "wan_in": 60, "wan_out": 40, "streams": 1}
        return {
            "pid": 4711,
            "since": 5.0,
            "heartbeat_age_s": 0.1,
            "totals": totals,
            "peers": list(self.peers),
        }

    async def _peers(self, _: Params) -> list[dict[str, Any]]:
        return list(self.peers)

    async def _sound(self, params: Params) -> dict[str, Any]:
        return {peer: {"path": "wan", "depths": self.depths, "rtt": 0.02} for peer in params["peers"]}

    async def _flows(self, params: Params) -> list[dict[str, Any]]:
        flow = {
            "client": ["10.1.0.2", 50000],
            "server": ["fd02::2", 80],
            "peer": "dc",
            "stream": 2,
            "kind": "optimised",
            "reason": "",
            "state": "open",
            "application": "http",
            "protection": "",
            "guessed": False,
            "lane": "bulk",
            "lan_rtt_s": 0.0004,
            "wan_rtt_s": 0.08,
            "reduction": 0.9,
            "age_s": 1.5,
            "lan_in": 600,
            "lan_out": 400,
            "wan_in": 60,
            "wan_out": 40,
        }
        return [] if params.get("after") else [flow][: params["limit"]]

    async def _reload(self, params: Params) -> dict[str, Any]:
        before = self.config
        try:
            self.config = from_dict(params["config"])
        except ConfigError as error:
            raise RpcError("bad_request", str(error)) from None
        if self.objection is not None and self.config != before:
            if self.objection.kind == "refused":
                self.config = before
            objection, self.objection = self.objection, None
            raise objection
        return {}

    async def _bypass(self, params: Params) -> dict[str, Any]:
        self.bypass = Bypass.from_dict(params)
        return {}

    async def _trust(self, params: Params) -> dict[str, Any]:
        self.trust = Trust.from_dict(params)
        return {}

    async def _keys(self, _: Params) -> dict[str, Any]:
        return {"waiting": []}

    async def _enrol_answer(self, params: Params) -> dict[str, Any]:
        self.enrol_answers.append(params)
        return {}


class ControlBox:
    """A box: its files in `directory`, its control plane in a thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "box.toml"
        self.socket = directory / "run" / "control.sock"
        for name in ("run", "state"):
            (directory / name).mkdir()
        create(directory / "box.key")
        self.public = create(directory / "peer.key").public
        self.write()
        self.kernel = KernelInMemory()
        self.data = DataInMemory(directory / "run" / "data.sock")
        self.control: Control | None = None
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def write(self, *, peer: str = "", rules: str = "", box: str = "", path: str = "") -> None:
        """The configuration file, with lines added to its sections."""
        self.file.write_text(
            f"""
[box]
id = "branch-1"
lan = ["lan0"]
wan = ["wan0"]
prefixes = ["10.1.0.0/16"]
key = "{self.directory}/box.key"
state_dir = "{self.directory}/state"
run_dir = "{self.directory}/run"
{box}
[[peers]]
id = "dc"
key = "{self.public}"
prefixes = ["10.2.0.0/16", "fd02::/48"]
paths = [{{ {path} dial = ["10.9.0.2:4001"] }}]
{peer}
[[rules]]
name = "web"
ports = ["80"]
eager = true
{rules}
"""
        )

    def __enter__(self) -> Self:
        self.control = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(self._serves, "control serves")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.control is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self.control.stop)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _serves(self) -> bool:
        try:
            Client(self.socket).close()
        except UnreachableError:
            return False
        return self.kernel.spec is not None

    def _run(self) -> None:
        async def serve() -> None:
            self.control = Control(self.file, load(self.file), self.kernel, Notifier({}), check=0.1)
            await self.control.run()

        self._loop.run_until_complete(serve())

    def tell(self, call: Callable[[], None]) -> None:
        """Do `call` in the control plane's thread, as a signal would."""
        self._loop.call_soon_threadsafe(call)

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` on the loop of the control plane."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def start_data(self) -> None:
        """The data plane comes up, and control has told it what is in force."""
        self.do(self.data.start())
        until(lambda: self.data.trust is not None, "control tells the data plane")

    def publish(self, event: Event) -> None:
        """The data plane says that something happened."""
        self._loop.call_soon_threadsafe(self.data.server.publish, event)

    def call(self, method: str, **params: object) -> Any:
        """A request of the control socket."""
        with Client(self.socket, timeout=DEADLINE_S) as client:
            return client.call(method, **params)

    def kinds(self) -> list[str]:
        """Kinds of all events so far."""
        return [event["kind"] for event in self.call("events")]

    def close(self) -> None:
        """After the last use."""
        self._loop.close()


@contextmanager
def control_box() -> Iterator[ControlBox]:
    """A box whose control plane runs, in a directory whose path is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="bl-"))
    box = ControlBox(directory)
    try:
        with box:
            yield box
    finally:
        box.close()
        shutil.rmtree(directory)
