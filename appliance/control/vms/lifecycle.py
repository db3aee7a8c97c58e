"""Methods that start and end machines."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.control.vms.answer import Answer, name_of

METHODS: Mapping[str, Answer] = {
    "vm_start": lambda host, params: host.lifecycle.start(name_of(params)),
    "vm_stop": lambda host, params: host.lifecycle.stop(name_of(params)),
    "vm_kill": lambda host, params: host.lifecycle.kill(name_of(params)),
    "vm_restart": lambda host, params: host.lifecycle.restart(name_of(params)),
    "vm_delete": lambda host, params: host.lifecycle.delete(
        name_of(params), disks=params.get("disks") is True
    ),
}
