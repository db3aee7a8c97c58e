"""How this box's key gives way to another, and what is written down when a peer's does."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

from appliance import identity, rotation
from appliance.config.values import PublicKey
from appliance.control.in_force import Emit, InForce
from appliance.control.planes import Planes
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler
from vmhost import apart, durable
from vmhost.errors import VmError


class Keys:
    """The method `key_rotate` of the control socket, and the events of the data plane about keys."""

    def __init__(self, in_force: InForce, data: Planes, emit: Emit) -> None:
        self._in_force = in_force
        self._data = data
        self._emit = emit
        self._making = asyncio.Lock()
        self._asked: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    def handlers(self) -> dict[str, AsyncHandler]:
        return {"key_rotate": self.rotate}

    @property
    def _key(self) -> Path:
        return Path(self._in_force.config.box.key)

    async def rotate(self, _params: Params) -> dict[str, Any]:
        """Make the next key, if there is none yet, and announce it; `waiting`: peers that have not taken it yet."""
        path = identity.next_path(self._key)
        async with self._making:  # a process that crawls must not keep anybody from the big red button
            try:
                number = await asyncio.to_thread(apart.ask, identity.__name__, str(path))
            except VmError as error:
                raise RpcError("failed", f"{error}; nothing was changed") from None
            if number == 0:
                self._emit("key.made", "info", "the box's next key was made", {"file": str(path)})
            elif number != errno.EEXIST:
                raise RpcError(
                    "failed", f"{path} cannot be written: {os.strerror(number)}; nothing was changed"
                )
            async with self._in_force.changing:
                try:
                    made = identity.load_identity(path)
                except identity.IdentityError as error:  # perhaps it has just taken its place
                    raise RpcError("failed", f"{error.problem}; look at the events, and try again") from None
                said = await self._data.call("keys", {})
        return {"fingerprint": identity.fingerprint(made.certificate), "waiting": said["waiting"]}

    def heard(self, kind: str, evidence: dict[str, Any]) -> None:
        """An event of the data plane."""
        if kind in (rotation.ANNOUNCED, rotation.READY, rotation.PROVED):
            self._asked.put_nowait((kind, evidence))

    async def run(self) -> None:
        """Does one thing after the other."""
        while True:
            kind, evidence = await self._asked.get()
            try:
                async with self._in_force.changing:
                    if kind == rotation.READY:
                        await self._switch()
                    else:
                        await self._note(kind, str(evidence["peer"]), str(evidence["key"]))
            except (OSError, RpcError, ValueError) as error:
                text = (
                    f"a change of keys cannot go on: {error}; it is tried again when the data plane restarts"
                )
                self._emit("key.failed", "error", text, {"kind": kind})

    async def _switch(self) -> None:
        said = await self._data.call("keys", {})
        if said["waiting"]:
            return  # another data process still has peers that do not take it; it says when they do
        os.replace(identity.next_path(self._key), self._key)  # whole or not at all: every peer takes either
        durable.sync(self._key.parent)
        await self._data.call("keys", {})
        self._emit("key.changed", "info", "the box has a new key; its lanes are opened anew", {})

    async def _note(self, kind: str, name: str, public: str) -> None:
        config, trust = self._in_force.config, self._in_force.trust
        peer = config.peer(name)
        if peer is None or not trust.accepts(peer):  # gone, or revoked since it spoke
            return
        key = PublicKey.parse(public).der
        mark = identity.fingerprint(key)
        others = {held for other in config.peers if other.id != name for held in trust.keys(other)}
        if not identity.is_certificate(key) or key in others or trust.revoked(mark):
            raise ValueError(f"peer {name} announces a key that it cannot have: {mark}")
        keys = (trust.keys(peer)[0], key) if kind == rotation.ANNOUNCED else (key,)
        wanted = trust.succeeding(peer, keys)
        wanted.save(
            Path(config.box.state_dir)
        )  # first: the peer is told that we take it, and drops the old one
        await self._in_force.put_trust(wanted)
        text = (
            f"peer {name} may come with a new key"
            if len(keys) > 1
            else f"the old key of peer {name} is dropped"
        )
        self._emit("key.taken", "info", text, {"peer": name, "fingerprint": mark})
