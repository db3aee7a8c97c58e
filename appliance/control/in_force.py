"""What is in force, configuration, bypass and trust, and how it is changed: wholly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.bypass import Bypass
from appliance.config import Config, ConfigError, difference, load, to_dict
from appliance.config.accepted import write_accepted
from appliance.config.boxspec import box_spec
from appliance.control.kernel import Kernel, KernelError
from appliance.control.planes import TO, Planes
from appliance.events import Severity
from appliance.intercept.specs import BoxSpec
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler
from appliance.trust import Trust

Emit = Callable[[str, Severity, str, dict[str, Any]], None]


class InForce:
    """Configuration, bypass and trust of a running box. `source` is the file that people edit."""

    def __init__(
        self,
        source: Path,
        config: Config,
        bypass: Bypass,
        trust: Trust,
        *,
        kernel: Kernel,
        data: Planes,
        emit: Emit,
    ) -> None:
        self.config = config
        self.bypass = bypass
        self.trust = trust
        self.changing = asyncio.Lock()
        """Held while either changes, and by whoever must not see that happen."""
        self._small: set[str] = set()  # peers on the way to which large packets get lost
        self._source = source
        self._kernel = kernel
        self._data = data
        self._emit = emit

    @property
    def spec(self) -> BoxSpec:
        """What the kernel's tables are to say."""
        return box_spec(self.config, self.bypass, self._small)

    def handlers(self) -> dict[str, AsyncHandler]:
        """The methods of the control socket that change something, by name."""
        return {"bypass": self.switch_bypass, "reload": self.reload}

    async def look_at_paths(self) -> None:
        """Asks the data plane on the way to which peers large packets get lost: what passes through must know, too."""
        async with self.changing:
            try:
                peers = await self._data.call("peers")
                found = {peer["id"] for peer in peers if any(path.get("small") for path in peer["paths"])}
                if found != self._small:
                    self._small = found
                    await self._kernel.apply(self.spec)
            except RpcError:
                return  # it is asked again when it is back
            except KernelError as error:
                self._emit("kernel.failed", "error", f"what passes through uses large packets: {error}", {})

    async def tell_data(self, process: int) -> None:
        """Say everything to a data process that is new: it may have read its files just before the last change."""
        async with self.changing:
            try:
                await self._data.call("reload", {"config": to_dict(self.config), TO: process})
                await self._data.call("bypass", self.bypass.describe() | {TO: process})
                await self._data.call("trust", self.trust.describe() | {TO: process})
                await self._data.call("keys", {TO: process})
            except RpcError as error:
                self._emit("data.refused", "error", f"the data plane refuses what is in force: {error}", {})

    async def switch_bypass(self, params: Params) -> dict[str, Any]:
        """Bypass `on` (or off) for a `peer`, a `rule`, a `name` that is either, or everything; it is remembered."""
        on = params.get("on")
        if not isinstance(on, bool):
            raise RpcError("bad_request", "on is true or false")
        async with self.changing:
            peer, rule = self._named(params)
            wanted = self.bypass.switched(on, peer=peer, rule=rule)
            try:
                await self._kernel.apply(box_spec(self.config, wanted, self._small))
            except KernelError as error:
                raise RpcError("refused", f"the kernel refused it: {error}; nothing was changed") from None
            self.bypass = wanted
            forgetful = self._remember()
            try:
                told = await self._say("bypass", wanted.describe())
            except RpcError as error:  # the kernel's table, which comes first, has it already
                told = f"it is told later: {error}"
        what = f"peer {peer}" if peer else f"rule {rule}" if rule else "everything"
        severity: Severity = "warning" if on else "info"
        switched = "on" if on else "off"
        self._emit("bypass.changed", severity, f"bypass {switched} for {what}", wanted.describe())
        if forgetful:
            self._emit("bypass.unsaved", "error", f"a restart will forget this bypass: {forgetful}", {})
        return {"bypass": wanted.describe(), "data": told, "unsaved": forgetful}

    async def put_trust(self, wanted: Trust) -> str:
        """Let in whom `wanted` says, at once; OSError if it cannot be remembered. The caller holds `changing`.

        Returns "told"; or why the data plane is told later.
        """
        self.trust = wanted
        try:
            told = await self._say("trust", wanted.describe())
        except RpcError as error:
            told = f"it is told later: {error}"
        wanted.save(Path(self.config.box.state_dir))
        return told

    async def reload(self, _params: Params) -> dict[str, Any]:
        """Read the file again and put it in force; if anything is wrong with it, nothing is changed."""
        async with self.changing:
            try:
                return await self._reload()
            except RpcError as error:
                self._emit("config.refused", "error", f"nothing was changed: {error}", {"kind": error.kind})
                raise

    def _remember(self) -> str:
        """Save the bypass; why that cannot be, else "". A full disk must not keep anybody from the big red button."""
        try:
            self.bypass.save(Path(self.config.box.state_dir))
        except OSError as error:
            return str(error)
        return ""

    async def _reload(self) -> dict[str, Any]:
        try:
            wanted = load(self._source)
        except ConfigError as error:
            raise RpcError("config", str(error)) from None
        return await self.put(wanted)

    async def put(self, wanted: Config) -> dict[str, Any]:
        """Put `wanted` in force, or RpcError and nothing is changed. The caller holds `changing`."""
        change = difference(self.config, wanted)
        if change.restart:
            raise RpcError(
                "config",
                f"{self._source}: {', '.join(change.restart)}: only a restart can change that; "
                "stop branchline and start it again, or take the change back",
            )
        if not change:
            return {"changed": "nothing"}
        bypass = self.bypass.within(wanted)
        try:
            await self._kernel.apply(box_spec(wanted, bypass, self._small))
        except KernelError as error:
            raise RpcError("refused", f"the kernel refused it: {error}") from None
        try:
            told = await self._say("reload", {"config": to_dict(wanted)})
        except RpcError as error:
            await self._take_back(tell=error.kind != "refused")  # any other end may have left it half way
            raise RpcError("refused", f"the data plane refused it: {error}") from None
        try:
            write_accepted(wanted)
        except OSError as error:
            await self._take_back(tell=True)
            raise RpcError("refused", f"it cannot be remembered: {error}") from None
        self.config = wanted
        if bypass != self.bypass:
            self.bypass = bypass
            self._remember()  # if not: names that are not in the configuration count for nothing
        self._emit("config.changed", "info", f"changed: {change.describe()}", {})
        return {"changed": change.describe(), "data": told}

    async def _take_back(self, *, tell: bool) -> None:
        """The kernel, and the data plane if it must be told, as what still is in force."""
        try:
            await self._kernel.apply(self.spec)
            if tell:
                await self._say("reload", {"config": to_dict(self.config)})
        except (KernelError, RpcError) as error:
            if isinstance(error, RpcError) and error.kind == "lost":
                return  # it is told what is in force when it is back
            text = f"a reload that failed cannot be taken back: {error}; stop branchline and start it again"
            self._emit("config.torn", "error", text, {})

    async def _say(self, method: str, params: Params) -> str:
        """ "told"; or "not running": then it reads for itself when it starts. RpcError if it objects or dies of it."""
        try:
            await self._data.call(method, params)
        except RpcError as error:
            if error.kind == "unavailable":
                return "not running"
            raise
        return "told"

    def _named(self, params: Params) -> tuple[str | None, str | None]:
        """The peer and the rule that are meant."""
        peer, rule, name = (params.get(key) for key in ("peer", "rule", "name"))
        if sum(word is not None for word in (peer, rule, name)) > 1:
            raise RpcError("bad_request", "one of peer, rule and name")
        if name is not None:
            peer = name if self.config.peer(name) else None
            rule = name if self.config.rule(name) else None
            if peer and rule:
                raise RpcError(
                    "bad_request", f'"{name}" is a peer and a rule; say which with --peer or --rule'
                )
            if not peer and not rule:
                raise RpcError("not_found", f'there is neither a peer nor a rule "{name}"; {self._names()}')
        elif peer is not None and self.config.peer(peer) is None:
            raise RpcError("not_found", f'there is no peer "{peer}"; {self._names()}')
        elif rule is not None and self.config.rule(rule) is None:
            raise RpcError("not_found", f'there is no rule "{rule}"; {self._names()}')
        return peer, rule

    def _names(self) -> str:
        peers = ", ".join(peer.id for peer in self.config.peers) or "none"
        rules = ", ".join(rule.name for rule in self.config.rules) or "none"
        return f"peers: {peers}; rules: {rules}"
