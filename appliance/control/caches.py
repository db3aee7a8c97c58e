"""What people ask of the chunk caches, and how they empty them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from appliance.attempt import Attempt
from appliance.control.in_force import InForce
from appliance.control.planes import Planes
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler

_ACTIONS = ("status", "verify", "clear")
_CLEARING_S = 30.0
_LOOKING_S = 5.0
_POLL_S = 0.02


class Caches:
    """The method `cache` of the control socket. The files are read here, and changed by the data plane alone."""

    def __init__(self, in_force: InForce, data: Planes) -> None:
        self._in_force = in_force
        self._data = data

    def handlers(self) -> dict[str, AsyncHandler]:
        return {"cache": self.cache}

    async def cache(self, params: Params) -> dict[str, Any]:
        """The caches of all peers or one: `status`, `verify` (reads them whole) or `clear`; as they were before it.

        `totals`: what these take of the disk and all take of the index memory, and the limits of both, in bytes.
        """
        import dedupe  # 5 MB, for those who ask

        action, peer = params.get("action", "status"), params.get("peer")
        if action not in _ACTIONS:
            raise RpcError("bad_request", f"action is one of {', '.join(_ACTIONS)}")
        if peer is not None and self._in_force.config.peer(str(peer)) is None:
            raise RpcError("not_found", f"there is no peer {peer}")
        directory = Path(self._in_force.config.box.state_dir) / "cache"
        try:
            verify = action == "verify"  # takes as long as the disk needs
            attempt = Attempt(partial(dedupe.inspect, directory, peer=peer, verify=verify), "inspect")
            deadline = time.monotonic() + _LOOKING_S
            while not attempt.wait(0.0):
                if not verify and time.monotonic() > deadline:
                    raise RpcError("failed", f"{directory} does not answer; look at the disk")
                await asyncio.sleep(_POLL_S)
            found = attempt.result()
        except OSError as error:
            raise RpcError("failed", f"{directory}: {error.strerror or error}") from None
        if action == "clear":
            await self._data.call("clear_cache", {} if peer is None else {"peer": peer}, within=_CLEARING_S)
        indexes = await self._indexes()
        known = {(one["peer"], one["domain"]): one for one in indexes["caches"]}
        closed = {"index": 0, "unread": 0}
        caches = [{**asdict(one), **known.get((one.peer, one.domain), closed)} for one in found]
        totals = {
            "disk": sum(one.disk for one in found),
            "disk_limit": int(self._in_force.config.cache.disk),
            "index": indexes["index"],
            "index_limit": indexes["index_limit"],
        }
        return {"caches": caches, "totals": totals}

    async def _indexes(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await self._data.call("caches")
        except RpcError:  # nobody has a cache open
            return {"caches": [], "index": 0, "index_limit": 0}
        return answer
