"""The methods of the control socket about virtual machines: a file for each subject, with its table of methods."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from appliance.config import Config
from appliance.control.in_force import Emit
from appliance.control.vms import backups, creation, directory, health, lifecycle, looking, updating
from appliance.control.vms.answer import Answer
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler
from vmhost.errors import VmError
from vmhost.host import Host

DIRECTORY = "vm"  # in the state directory
SUBJECTS = (looking, creation, directory, lifecycle, backups, health, updating)


class Vms:
    """Virtual machines, if the configuration has the section [vm]."""

    def __init__(self, config: Config, emit: Emit) -> None:
        self._host: Host | None = None
        if config.vm is not None:
            directory, scratch = Path(config.box.state_dir) / DIRECTORY, Path(config.box.run_dir)
            self._host = Host(config.vm.libvirt, directory, scratch, config.vm.trusted_keys, emit)

    def handlers(self) -> dict[str, AsyncHandler]:
        """By the name of the method."""
        return {name: self._asked(answer) for subject in SUBJECTS for name, answer in subject.METHODS.items()}

    async def run(self) -> None:
        """Keep machines running, until cancelled."""
        if self._host is None:
            await asyncio.Event().wait()
        else:
            await self._host.run()

    def _asked(self, answer: Answer) -> AsyncHandler:
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
