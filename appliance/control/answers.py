"""What people ask: the box at a glance, peers, flows, events, configuration. Nothing here changes anything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.config import to_dict
from appliance.control import summary
from appliance.control.in_force import InForce
from appliance.control.kernel import Kernel, KernelError
from appliance.control.planes import Planes
from appliance.events import SEVERITIES, Event, EventLog
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler
from appliance.version import version

_MOST_FLOWS = 10_000  # the data plane drops an asker to whom it owes more than 8 MiB
_MOST_COUNTED = 10_000  # passed flows in `status`: 0.1 s of the kernel's thread
_MOST_EVENTS = 100_000
_HOUR_S = 3600.0
_MERGED = {"totals", "peers", "bypass"}  # what the data plane's status has elsewhere in ours
_PATIENCE_S = 2.0  # a data plane that hangs must not keep anybody from knowing that it does


class Answers:
    """The methods of the control socket that only read. `source` is the file that people edit."""

    def __init__(self, source: Path, in_force: InForce, kernel: Kernel, data: Planes, log: EventLog) -> None:
        self._source = source
        self._in_force = in_force
        self._kernel = kernel
        self._data = data
        self._log = log
        self._began = time.time()

    def handlers(self) -> dict[str, AsyncHandler]:
        """By the name of the method."""
        return {
            "status": self.status,
            "peers": self.peers,
            "flows": self.flows,
            "events": self.events,
            "config": self.config,
        }

    async def status(self, _params: Params) -> summary.Tree:
        """The box at a glance; it answers whatever state the data plane is in."""
        said, silence = await self._ask_data("status")
        totals = said.get("totals", {}) if said else {}
        refused: summary.Tree
        try:
            refused = dict(await self._kernel.counters())
        except KernelError as error:
            refused = {"unknown": str(error)}
        return {
            "box": str(self._in_force.config.box.id),
            "version": version(),
            "config": str(self._source),
            "since": self._began,
            "data": {
                "up": said is not None,
                "reason": "; ".join(silence.values()),
                "since": self._data.since,
                **{key: value for key, value in (said or {}).items() if key not in _MERGED},
            },
            "bypass": self._in_force.bypass.describe(),
            "totals": totals,
            "reduction": summary.reduction(totals),
            "flows": await self._flow_counts(said),
            "refused": refused,
            "peers": summary.peers(
                self._in_force.config,
                said.get("peers") if said else None,
                self._in_force.bypass,
                self._in_force.trust,
                self._by_peer(silence),
            ),
            "events": summary.counts(self._log.since(time.time() - _HOUR_S)),
        }

    async def peers(self, _params: Params) -> list[summary.Tree]:
        """Every configured peer."""
        said, silence = await self._ask_data("peers")
        return summary.peers(
            self._in_force.config,
            said,
            self._in_force.bypass,
            self._in_force.trust,
            self._by_peer(silence),
        )

    async def flows(self, params: Params) -> list[summary.Tree]:
        """Up to `limit` flows, of one `kind` or of both: those optimised first, then those passed, with the reason."""
        limit = _number(params, "limit", 1000, _MOST_FLOWS)
        kind = _choice(params, "kind", ("optimised", "passed"))
        flows: list[summary.Tree] = []
        if kind != "passed":
            flows = await self._optimised(limit)
        if kind == "optimised":
            return flows
        try:
            passed = await self._kernel.passed(limit - len(flows))
        except KernelError as error:
            raise RpcError("unavailable", f"passed flows cannot be listed: {error}") from None
        now = time.time()
        return flows + [summary.passed(flow, self._in_force.config, now) for flow in passed]

    async def _optimised(self, limit: int) -> list[summary.Tree]:
        """A page after the other: the data plane carries on between them."""
        flows: list[summary.Tree] = []
        while len(flows) < limit:
            asked: Params = {"limit": limit - len(flows)}
            if flows:
                asked["after"] = [flows[-1]["peer"], flows[-1]["stream"]]
            page, _ = await self._ask_data("flows", asked)
            if not page:
                break
            flows += page
        return flows

    async def events(self, params: Params) -> list[Event]:
        """The newest `limit` events after `since` (seconds since 1970) as grave as `severity` or more, oldest first."""
        since = params.get("since", 0)
        if not isinstance(since, int | float):
            raise RpcError("bad_request", "since is a number of seconds since 1970")
        least = SEVERITIES.index(_choice(params, "severity", SEVERITIES) or "info")
        limit = _number(params, "limit", 1000, _MOST_EVENTS)
        found = [event for event in self._log.since(since) if SEVERITIES.index(event.severity) >= least]
        return found[len(found) - limit :] if limit < len(found) else found

    async def config(self, _params: Params) -> summary.Tree:
        """The configuration in force."""
        return to_dict(self._in_force.config)

    async def _ask_data(self, method: str, params: Params | None = None) -> tuple[Any, dict[int, str]]:
        """What its processes say, and why those say nothing that do not, by their numbers."""
        return await self._data.ask(method, params, _PATIENCE_S)

    def _by_peer(self, silence: Mapping[int, str]) -> dict[str, str]:
        """Of the peers whose process says nothing, why."""
        peers = [str(peer.id) for peer in self._in_force.config.peers]
        numbers = {peer: self._data.number_of(peer) for peer in peers}
        return {peer: silence[number] for peer, number in numbers.items() if number in silence}

    async def _flow_counts(self, said: summary.Tree | None) -> summary.Tree:
        streams = said.get("totals", {}).get("streams") if said else 0
        try:
            passed: int | None = len(await self._kernel.passed(_MOST_COUNTED))
        except KernelError:
            passed = None  # unknown; `flows` says why
        return {"optimised": streams, "passed": passed}


def _number(params: Params, name: str, default: int, most: int) -> int:
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RpcError("bad_request", f"{name} is a number from 0 to {most}")
    return min(value, most)


def _choice(params: Params, name: str, choices: Sequence[str]) -> str | None:
    value = params.get(name)
    if value is not None and value not in choices:
        raise RpcError("bad_request", f"{name} is one of {', '.join(choices)}")
    return value
