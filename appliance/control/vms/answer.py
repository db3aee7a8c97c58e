"""What the methods about virtual machines have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from appliance.rpc import Params, RpcError
from vmhost.host import Host

Answer = Callable[[Host, Params], Awaitable[Any]]


def name_of(params: Params) -> str:
    """The `name` of a machine; RpcError if there is none."""
    name = params.get("name")
    if not isinstance(name, str):
        raise RpcError("bad_request", "name is that of a machine")
    return name
