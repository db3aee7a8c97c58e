"""The method that makes a machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.control.vms.answer import Answer
from appliance.rpc import Params, RpcError
from vmhost.health.plan import missing
from vmhost.host import Host
from vmhost.recipe import parse


async def _create(host: Host, params: Params) -> Any:
    """A machine by the `recipe`, a TOML text that was read from `file`."""
    text, file = params.get("recipe"), params.get("file")
    if not isinstance(text, str) or not isinstance(file, str):
        raise RpcError("bad_request", "recipe is TOML text, file is where it was read")
    recipe = parse(text, file)
    if recipe.health is not None and (problem := missing(recipe.health)):
        raise RpcError("refused", f"health.{problem}")
    return await host.creation.create(recipe)


METHODS: Mapping[str, Answer] = {"vm_create": _create}
