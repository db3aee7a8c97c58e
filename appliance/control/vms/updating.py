"""Methods that give machines a new system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.control.vms.answer import Answer, name_of
from appliance.rpc import Params, RpcError
from vmhost.host import Host


async def _update(host: Host, params: Params) -> Any:
    """The machine `name`, from the bundle in the directory `bundle` of this box."""
    source = params.get("bundle")
    if not isinstance(source, str) or "\0" in source or not Path(source).is_absolute():
        raise RpcError("bad_request", "bundle is the absolute path of a directory")
    return await host.updating.update(name_of(params), Path(source))


async def _under_way(host: Host, _params: Params) -> Any:
    return host.updating.under_way()


METHODS: Mapping[str, Answer] = {"vm_update": _update, "vm_updates": _under_way}
