"""The kernel's side of shaping: htb trees on WAN interfaces, and the table that sorts packets into their classes."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from appliance.control.shaping import OTHERS, TABLE, HtbClass, Link, rules
from appliance.intercept import NftError
from appliance.intercept.nft import Nft
from appliance.intercept.specs import BoxSpec
from appliance.traffic import MAJOR

_ROOT: Final = MAJOR << 16
_ABSENT: Final = {errno.ENOENT, errno.ENODEV, errno.EINVAL}
# Fair between the flows of a class, where the kernel has it; else first come, first served.
_LEAVES: Final = ("cake", "fq_codel", "sfq", "pfifo")
_QUANTUM: Final = 1514
_NO_RULES: Final = f"add table {TABLE}\ndelete table {TABLE}\n"


class Qdiscs:
    """Everything stays when this process dies, and is built anew by the next. One thread only; raises OSError."""

    def __init__(self) -> None:
        self._kernel = IPRoute()
        self._nft = Nft()
        self._built: dict[str, tuple[int, Link]] = {}
        self._leaf = ""
        self._rules = ""

    def apply(self, links: tuple[Link, ...], spec: BoxSpec) -> None:
        """Make it so, with nothing else of ours left; an interface that is not there now waits for the next time."""
        with _os_errors():
            for interface in self._ours() - {link.interface for link in links}:
                self._take_away(interface)
            for link in links:
                index = self._index(link.interface)
                if index:
                    self._put(index, link)
            text = rules(spec, links) if links else _NO_RULES
            if text != self._rules or (links and not self._sorted()):
                self._nft.run(text)
                self._rules = text

    def whole(self, links: tuple[Link, ...]) -> bool:
        """Whether nobody has taken away what `apply` has made."""
        with _os_errors():
            there = self._ours() >= {link.interface for link in links if self._index(link.interface)}
            return there and (not links or self._sorted())

    def remove(self) -> None:
        """Leave the kernel as it was found."""
        with _os_errors():
            for interface in self._ours():
                self._take_away(interface)
            self._nft.run(_NO_RULES)

    def close(self) -> None:
        self._nft.close()
        self._kernel.close()

    def _index(self, interface: str) -> int:
        try:
            # pyroute2's link_lookup keeps a message of each call for ever.
            return socket.if_nametoindex(interface)
        except OSError:
            return 0

    def _ours(self) -> set[str]:
        """Interfaces whose root is our htb."""
        indices = {q["index"] for q in self._kernel.get_qdiscs() if q["handle"] == _ROOT}
        return {
            str(link.get_attr("IFLA_IFNAME")) for link in self._kernel.get_links() if link["index"] in indices
        }

    def _sorted(self) -> bool:
        try:
            return any("rule" in item for item in self._nft.ask(f"list chain {TABLE} classify"))
        except NftError:
            return False

    def _take_away(self, interface: str) -> None:
        self._built.pop(interface, None)
        self._kernel.tc("del", "htb", self._index(interface), _ROOT)

    def _put(self, index: int, link: Link) -> None:
        """Touches only classes that differ: what waits in the others stays, and so does what they have counted."""
        built: dict[int, HtbClass] = {}
        before = self._built.get(link.interface)
        if before is not None and before[0] == index and link.interface in self._ours():
            built = {one.minor: one for one in before[1].classes}
        else:
            with contextlib.suppress(NetlinkError):  # there is mostly none
                self._kernel.tc("del", "htb", index, _ROOT)
            self._kernel.tc("add", "htb", index, _ROOT, default=OTHERS)
        wanted = {one.minor: one for one in link.classes}
        for minor in reversed([minor for minor in built if minor not in wanted]):  # children first
            # pyroute2 makes tables of the rate, though it means nothing here, and fails without one.
            self._kernel.tc("del-class", "htb", index, _ROOT | minor, rate=built[minor].rate)
        for minor, one in wanted.items():
            if minor not in built:
                self._class("add-class", index, one)
                if one.queue:
                    self._add_leaf(index, one)
            elif built[minor] != one:
                self._class("change-class", index, one)
        self._built[link.interface] = (index, link)

    def _class(self, command: str, index: int, wanted: HtbClass) -> None:
        self._kernel.tc(
            command,
            "htb",
            index,
            _ROOT | wanted.minor,
            parent=_ROOT | wanted.parent,
            rate=wanted.rate,
            ceil=wanted.ceil,
            burst=wanted.burst,
            cburst=wanted.burst,
            prio=wanted.prio,
            quantum=_QUANTUM,
        )

    def _add_leaf(self, index: int, wanted: HtbClass) -> None:
        for kind in [self._leaf] if self._leaf else _LEAVES:
            options = {"limit": wanted.queue} if kind in ("pfifo", "sfq") else {}
            try:
                self._kernel.tc(
                    "add", kind, index, wanted.minor << 16, parent=_ROOT | wanted.minor, **options
                )
            except NetlinkError as error:
                if kind == _LEAVES[-1] or error.code not in _ABSENT | {errno.EOPNOTSUPP}:
                    raise
            else:
                self._leaf = kind
                return


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """The libraries' own exceptions as OSError."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"shaping: {os.strerror(error.code)}") from error
    except NftError as error:
        raise OSError(errno.EIO, f"shaping: {error}") from error
