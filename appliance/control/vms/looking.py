"""Methods that only look."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.control.vms.answer import Answer, name_of

METHODS: Mapping[str, Answer] = {
    "vm_host": lambda host, _: host.looking.host(),
    "vm_list": lambda host, _: host.looking.machines(),
    "vm_show": lambda host, params: host.looking.show(name_of(params)),
    "vm_console": lambda host, params: host.looking.console(name_of(params)),
    "vm_vnc": lambda host, params: host.looking.display(name_of(params)),
    "vm_stats": lambda host, params: host.looking.statistics(name_of(params)),
}
