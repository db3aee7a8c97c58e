"""The methods about the branch's directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.control.vms.answer import Answer, name_of
from appliance.rpc import Params, RpcError
from vmhost.directory.planning import Asked
from vmhost.host import Host


async def _create(host: Host, params: Params) -> Any:
    """A directory's machine; the params are the fields of `Asked`."""
    try:
        asked = msgspec.convert(dict(params), Asked)
    except msgspec.ValidationError as error:
        raise RpcError("bad_request", str(error)) from None
    return await host.directories.create(asked)


async def _progress(host: Host, params: Params) -> Any:
    return host.directories.progress(name_of(params))


METHODS: Mapping[str, Answer] = {"vm_create_directory": _create, "vm_directory_progress": _progress}
