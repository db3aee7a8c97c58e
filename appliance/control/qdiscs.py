"""The kernel's side of shaping: htb trees on WAN interfaces, and the table that sorts packets into their classes."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Final

from appliance.control import htb, rtnetlink
from appliance.control.shaping import OTHERS, TABLE, HtbClass, Link, rules
from appliance.intercept import NftError
from appliance.intercept.nft import Nft
from appliance.intercept.specs import BoxSpec
from appliance.traffic import MAJOR

_ROOT: Final = MAJOR << 16
_ABSENT: Final = {errno.ENOENT, errno.ENODEV, errno.EINVAL}
# Fair between the flows of a class, where the kernel has it; else first come, first served.
_LEAVES: Final = ("cake", "fq_codel", "sfq", "pfifo")
_NO_RULES: Final = f"add table {TABLE}\ndelete table {TABLE}\n"

_NEW_DISCIPLINE, _DELETE_DISCIPLINE, _GET_DISCIPLINES = 36, 37, 38
_NEW_CLASS, _DELETE_CLASS = 40, 41
_ADD: Final = rtnetlink.CREATE | rtnetlink.EXCLUSIVE


class Qdiscs:
    """Everything stays when this process dies, and is built anew by the next. One thread only; raises OSError."""

    def __init__(self) -> None:
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

    def _index(self, interface: str) -> int:
        try:
            return socket.if_nametoindex(interface)
        except OSError:
            return 0

    def _ours(self) -> set[str]:
        """Interfaces whose root is our htb."""
        there = (htb.meant(body) for body in rtnetlink.dump(_GET_DISCIPLINES, htb.head(0)))
        indices = {index for index, handle in there if handle == _ROOT}
        return {name for index, name in socket.if_nameindex() if index in indices}

    def _sorted(self) -> bool:
        try:
            return any("rule" in item for item in self._nft.ask(f"list chain {TABLE} classify"))
        except NftError:
            return False

    def _take_away(self, interface: str) -> None:
        self._built.pop(interface, None)
        _clear(self._index(interface))

    def _put(self, index: int, link: Link) -> None:
        """Touches only classes that differ: what waits in the others stays, and so does what they have counted."""
        built: dict[int, HtbClass] = {}
        before = self._built.get(link.interface)
        if before is not None and before[0] == index and link.interface in self._ours():
            built = {one.minor: one for one in before[1].classes}
        else:
            with contextlib.suppress(OSError):  # there is mostly none
                _clear(index)
            body = htb.head(index, _ROOT, htb.AT_ROOT) + htb.discipline(OTHERS)
            rtnetlink.change(_NEW_DISCIPLINE, body, _ADD)
        wanted = {one.minor: one for one in link.classes}
        for minor in reversed([minor for minor in built if minor not in wanted]):  # children first
            rtnetlink.change(_DELETE_CLASS, htb.head(index, _ROOT | minor))
        for minor, one in wanted.items():
            if minor not in built:
                self._class(index, one, _ADD)
                if one.queue:
                    self._add_leaf(index, one)
            elif built[minor] != one:
                self._class(index, one)
        self._built[link.interface] = (index, link)

    def _class(self, index: int, wanted: HtbClass, flags: int = 0) -> None:
        which = htb.head(index, _ROOT | wanted.minor, _ROOT | wanted.parent)
        rtnetlink.change(_NEW_CLASS, which + htb.parameters(wanted), flags)

    def _add_leaf(self, index: int, wanted: HtbClass) -> None:
        for kind in [self._leaf] if self._leaf else _LEAVES:
            which = htb.head(index, wanted.minor << 16, _ROOT | wanted.minor)
            try:
                rtnetlink.change(_NEW_DISCIPLINE, which + htb.leaf(kind, wanted.queue), _ADD)
            except OSError as error:
                if kind == _LEAVES[-1] or error.errno not in _ABSENT | {errno.EOPNOTSUPP}:
                    raise
            else:
                self._leaf = kind
                return


def _clear(index: int) -> None:
    """Take our htb away from an interface."""
    rtnetlink.change(_DELETE_DISCIPLINE, htb.head(index, _ROOT, htb.AT_ROOT))


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """What goes wrong as an OSError that says what it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"shaping: {error.strerror}") from None
    except NftError as error:
        raise OSError(errno.EIO, f"shaping: {error}") from error
