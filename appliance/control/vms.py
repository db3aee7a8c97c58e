"""The methods of the control socket about virtual machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from appliance.config import Config
from appliance.control.in_force import Emit
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler
from vmhost.errors import VmError
from vmhost.host import Host
from vmhost.recipe import parse

DIRECTORY = "vm"  # in the state directory


class Vms:
    """Virtual machines, if the configuration has the section [vm]."""

    def __init__(self, config: Config, emit: Emit) -> None:
        self._host: Host | None = None
        if config.vm is not None:
            self._host = Host(config.vm.libvirt, Path(config.box.state_dir) / DIRECTORY, emit)

    def handlers(self) -> dict[str, AsyncHandler]:
        """By the name of the method."""
        return {
            "vm_host": self._asked(lambda host, _: host.abilities()),
            "vm_list": self._asked(lambda host, _: host.machines()),
            "vm_create": self._asked(_create),
            "vm_start": self._asked(lambda host, params: host.start(_name(params))),
            "vm_stop": self._asked(lambda host, params: host.stop(_name(params))),
            "vm_kill": self._asked(lambda host, params: host.kill(_name(params))),
            "vm_restart": self._asked(lambda host, params: host.restart(_name(params))),
            "vm_delete": self._asked(
                lambda host, params: host.delete(_name(params), disks=params.get("disks") is True)
            ),
            "vm_console": self._asked(lambda host, params: host.console(_name(params))),
            "vm_stats": self._asked(lambda host, params: host.statistics(_name(params))),
        }

    async def run(self) -> None:
        """Keep machines running, until cancelled."""
        if self._host is None:
            await asyncio.Event().wait()
        else:
            await self._host.run()

    def _asked(self, answer: Callable[[Host, Params], Awaitable[Any]]) -> AsyncHandler:
        async def handler(params: Params) -> Any:
            if self._host is None:
                raise RpcError(
                    "refused", "this box has no virtual machines; write a section [vm] and restart branchline"
                )
            try:
                return await answer(self._host, params)
            except VmError as error:
                raise RpcError(error.kind, str(error)) from None

        return handler


async def _create(host: Host, params: Params) -> Any:
    """A machine by the `recipe`, a TOML text that was read from `file`."""
    text, file = params.get("recipe"), params.get("file")
    if not isinstance(text, str) or not isinstance(file, str):
        raise RpcError("bad_request", "recipe is TOML text, file is where it was read")
    return await host.create(parse(text, file))


def _name(params: Params) -> str:
    name = params.get("name")
    if not isinstance(name, str):
        raise RpcError("bad_request", "name is that of a machine")
    return name
