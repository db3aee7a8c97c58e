"""The method that tells how machines are."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.control.vms.answer import Answer, name_of

METHODS: Mapping[str, Answer] = {"vm_health": lambda host, params: host.health.told(name_of(params))}
