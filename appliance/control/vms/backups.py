"""Methods about backups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.control.vms.answer import Answer, name_of
from appliance.rpc import Params, RpcError
from vmhost.backup.remaking import Given
from vmhost.host import Host


def _text(params: Params, key: str) -> str:
    value = params.get(key, "")
    if not isinstance(value, str):
        raise RpcError("bad_request", f"{key} is text")
    return value


async def _verify(host: Host, params: Params) -> Any:
    return await host.backups.verify(
        name_of(params),
        _text(params, "backup"),
        _text(params, "to"),
        boot=params.get("boot") is True,
        sign=_text(params, "sign"),
    )


async def _restore(host: Host, params: Params) -> Any:
    stage = params.get("stage")
    if stage is not None and not isinstance(stage, dict):
        raise RpcError("bad_request", "stage is what a stage file says")
    given = Given(stage=stage, host=_text(params, "host"), bundle=_text(params, "bundle"))
    return await host.backups.restore(
        name_of(params),
        _text(params, "backup"),
        _text(params, "to"),
        _text(params, "new_name") or None,
        given,
    )


METHODS: Mapping[str, Answer] = {
    "vm_backup": lambda host, params: host.backups.take(name_of(params), _text(params, "to")),
    "vm_backup_cancel": lambda host, params: host.backups.cancel(name_of(params)),
    "vm_backups": lambda host, params: host.backups.listed(_text(params, "name"), _text(params, "to")),
    "vm_verify": _verify,
    "vm_restore": _restore,
}
