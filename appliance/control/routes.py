"""The policy routes that deliver intercepted packets to this machine: packet mark 1 → table 100 → local.

A rule and a route for IPv4 and IPv6 each.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

from appliance.control import rtnetlink
from appliance.intercept import netlink
from appliance.intercept.marks import DELIVER, DELIVER_TABLE

_PRIORITY: Final = 90  # before whatever policy routing else this box does
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_FAMILIES: Final = ((socket.AF_INET, _SCOPE_HOST), (socket.AF_INET6, _SCOPE_UNIVERSE))

_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTES = 24, 25, 26
_NEW_RULE, _DELETE_RULE, _GET_RULES = 32, 33, 34
_SET_LINK: Final = 19
_HEAD: Final = struct.Struct(
    "=B3x4BI"
)  # struct rtmsg, fib_rule_hdr: family, table, protocol, scope, type, flags
_LINK: Final = struct.Struct("=4xiII")  # struct ifinfomsg: index, flags, which of them change
_UP: Final = 1
_NUMBER: Final = struct.Struct("=I")
_STATIC, _LOCAL, _TO_TABLE = 4, 2, 1  # a route's protocol and type, a rule's action
_ROUTE_OUT, _ROUTE_TABLE = 4, 15
_RULE_PRIORITY, _RULE_MARK, _RULE_TABLE = 6, 10, 15
_RULE: Final = {_RULE_MARK: DELIVER, _RULE_TABLE: DELIVER_TABLE, _RULE_PRIORITY: _PRIORITY}


def ensure() -> bool:
    """Put in place what is missing; whether anything was. It outlives this process until `remove`. Raises OSError."""
    with _said_of_routes():
        put = [_ensure(*family) for family in _FAMILIES]
    return any(put)


def remove() -> None:
    """Take away what is there of ours, and nothing else. Raises OSError."""
    with _said_of_routes():
        for family, scope in _FAMILIES:
            for _ in range(_rules(family)):
                rtnetlink.change(_DELETE_RULE, _rule(family))
            if _routed(family):
                rtnetlink.change(_DELETE_ROUTE, _route(family, scope))


def _ensure(family: int, scope: int) -> bool:
    ruled, routed = _rules(family) > 0, _routed(family)
    if not ruled:
        rtnetlink.change(_NEW_RULE, _rule(family), rtnetlink.CREATE | rtnetlink.EXCLUSIVE)
    if not routed:
        rtnetlink.change(_SET_LINK, _LINK.pack(_loopback(), _UP, _UP))
        rtnetlink.change(_NEW_ROUTE, _route(family, scope), rtnetlink.CREATE | rtnetlink.REPLACE)
    return not (ruled and routed)


def _rules(family: int) -> int:
    """How many there are of ours."""
    found = rtnetlink.dump(_GET_RULES, _HEAD.pack(family, 0, 0, 0, 0, 0))
    return sum(_numbers(body).items() >= _RULE.items() for body in found)


def _routed(family: int) -> bool:
    asked = _HEAD.pack(family, 0, 0, 0, 0, 0) + _number(_ROUTE_TABLE, DELIVER_TABLE)
    try:
        found = rtnetlink.dump(_GET_ROUTES, asked)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False  # there is no such table yet
    return any(_numbers(body).get(_ROUTE_TABLE) == DELIVER_TABLE for body in found)


def _rule(family: int) -> bytes:
    head = _HEAD.pack(family, DELIVER_TABLE, 0, 0, _TO_TABLE, 0)
    return head + b"".join(_number(kind, value) for kind, value in _RULE.items())


def _route(family: int, scope: int) -> bytes:
    """Everything is local."""
    head = _HEAD.pack(family, DELIVER_TABLE, _STATIC, scope, _LOCAL, 0)
    return head + _number(_ROUTE_TABLE, DELIVER_TABLE) + _number(_ROUTE_OUT, _loopback())


def _loopback() -> int:
    return socket.if_nametoindex("lo")


def _number(kind: int, value: int) -> bytes:
    return netlink.attribute(kind, _NUMBER.pack(value))


def _numbers(body: bytes) -> dict[int, int]:
    """The attributes of a rule or a route that are numbers."""
    found = netlink.attributes(body[_HEAD.size :])
    return {kind: _NUMBER.unpack(value)[0] for kind, value in found.items() if len(value) == _NUMBER.size}


@contextlib.contextmanager
def _said_of_routes() -> Iterator[None]:
    """An error says what it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"policy routes: {error.strerror}") from None
