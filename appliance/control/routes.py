"""The policy routes that deliver intercepted packets to this machine: packet mark 1 → table 100 → local."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.intercept.marks import DELIVER, DELIVER_TABLE

_PRIORITY: Final = 90  # before whatever policy routing else this box does
_RULE: Final[dict[str, Any]] = {"fwmark": DELIVER, "table": DELIVER_TABLE, "priority": _PRIORITY}
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_FAMILIES: Final = (
    (socket.AF_INET, "0.0.0.0/0", _SCOPE_HOST),
    (socket.AF_INET6, "::/0", _SCOPE_UNIVERSE),
)


class Routes:
    """A rule and a route for IPv4 and IPv6 each. They outlive this process until `remove`.

    One thread only. Methods raise OSError.
    """

    def __init__(self) -> None:
        self._kernel = IPRoute()

    def ensure(self) -> bool:
        """Put in place what is missing; whether anything was."""
        with _os_errors():
            put = [self._ensure(*family) for family in _FAMILIES]
        return any(put)

    def remove(self) -> None:
        """Take away what is there of ours, and nothing else."""
        with _os_errors():
            for family, everything, scope in _FAMILIES:
                for _ in filter(_is_ours, list(self._kernel.get_rules(family=family))):
                    self._kernel.rule("del", family=family, **_RULE)
                if self._routed(family):
                    self._kernel.route("del", **self._route(family, everything, scope))

    def _ensure(self, family: int, everything: str, scope: int) -> bool:
        ruled = any(map(_is_ours, self._kernel.get_rules(family=family)))
        routed = self._routed(family)
        if not ruled:
            self._kernel.rule("add", family=family, **_RULE)
        if not routed:
            route = self._route(family, everything, scope)
            self._kernel.link("set", index=route["oif"], state="up")
            self._kernel.route("replace", **route)
        return not (ruled and routed)

    def _routed(self, family: int) -> bool:
        return any(True for _ in self._kernel.get_routes(family=family, table=DELIVER_TABLE))

    def _route(self, family: int, everything: str, scope: int) -> dict[str, Any]:
        return {
            "family": family,
            "dst": everything,
            "scope": scope,
            "oif": socket.if_nametoindex("lo"),
            "table": DELIVER_TABLE,
            "type": "local",
        }

    def close(self) -> None:
        """Close the netlink socket; rules and routes stay."""
        self._kernel.close()


def _is_ours(rule: object) -> bool:
    get = rule.get_attr  # type: ignore[attr-defined]
    return bool(
        get("FRA_FWMARK") == DELIVER
        and get("FRA_TABLE") == DELIVER_TABLE
        and get("FRA_PRIORITY") == _PRIORITY
    )


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """pyroute2's own exception, which is no OSError, as what it is."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"policy routes: {os.strerror(error.code)}") from error
