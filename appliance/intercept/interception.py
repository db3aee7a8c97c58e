"""The data plane's handle on its nftables table: what makes fail-open true."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from appliance.intercept.nft import Nft, NftError
from appliance.intercept.rules import TABLE, data_table, data_update
from appliance.intercept.specs import BoxSpec

# A beat may be late by two and a half intervals before new flows pass.
_LIFE_IN_BEATS: Final = 3.5
_REFUSED_FIRST: Final = 30.0
_REFUSED_MOST: Final = 3600.0
_REFUSED_TRACKED: Final = 4096
_KNOWN_LIFE: Final = 3600.0
# A dead data plane's table goes when the kernel closes its socket, which a successor may outrun.
_TAKEOVER: Final = 2.0


@dataclass(frozen=True)
class Known:
    """A destination that was seen to answer; `expires` in seconds."""

    address: str
    port: int
    expires: float = _KNOWN_LIFE


class Interception:
    """Table `inet branchline`, owned by this object's netlink socket: it vanishes with close() or with the process.

    All methods raise NftError. `heartbeat` raises it when the table is gone.
    """

    def __init__(
        self, spec: BoxSpec, heartbeat_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`heartbeat_s`: seconds between calls of heartbeat()."""
        self._spec = spec
        self._clock = clock
        self._life_ms = round(heartbeat_s * _LIFE_IN_BEATS * 1000)
        self._nft: Nft | None = None
        self._refusals: OrderedDict[tuple[str, int], tuple[float, float]] = OrderedDict()

    def open(self) -> None:
        """Installs the table. Nothing is intercepted before the first heartbeat."""
        nft = Nft()
        text = data_table(self._spec)
        deadline = self._clock() + _TAKEOVER
        while True:
            try:
                nft.run(text)
                break
            except NftError:
                if not _installed(nft) or self._clock() >= deadline:
                    nft.close()
                    raise
                time.sleep(0.01)
        self._nft = nft

    def close(self) -> None:
        """Removes the table; the fates of flows stay in conntrack. May be called twice."""
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def heartbeat(self) -> None:
        """Keeps new flows intercepted for another 3.5 intervals."""
        # One batch: deleting first would fail for ever after one expiry, and adding an element
        # that is still there does not renew it on older kernels.
        elements = ", ".join(f'"{name}" timeout {self._life_ms}ms' for name in self._spec.lan)
        self._run(f"flush set {TABLE} active\nadd element {TABLE} active {{ {elements} }}\n")

    def present(self) -> bool:
        """Whether the table is still there."""
        try:
            self._run(f"flush chain {TABLE} pulse\n")
        except NftError:
            return False
        return True

    def update(self, spec: BoxSpec) -> None:
        """Replaces the policy in one transaction; flows, known, refused and the heartbeat stay as they are."""
        staying = {peer.index for peer in spec.peers}
        gone = [peer.index for peer in self._spec.peers if peer.index not in staying]
        self._run(data_update(spec, gone))
        self._spec = spec

    def refuse(self, address: str, port: int) -> float:
        """Lets the destination's flows pass from now on; returns for how many seconds.

        30 at first, doubling up to an hour when it fails again soon after. To be called before the failed flow is
        closed, so that the client's retry sees the truth.
        """
        address = str(ipaddress.ip_address(address))
        now = self._clock()
        seconds = _REFUSED_FIRST
        last = self._refusals.pop((address, port), None)
        if last is not None and now < last[1]:
            seconds = min(last[0] * 2, _REFUSED_MOST)
        # Remembered for as long again after it ends.
        self._refusals[address, port] = seconds, now + 2 * seconds
        while len(self._refusals) > _REFUSED_TRACKED:
            self._refusals.popitem(last=False)
        family, element = _element(address, port)
        # Adding first makes the deletion possible whether or not the element was there. A refused
        # destination is no longer known: it has to be seen answering again.
        self._run(
            f"add element {TABLE} refused{family} {{ {element} }}\n"
            f"delete element {TABLE} refused{family} {{ {element} }}\n"
            f"add element {TABLE} refused{family} {{ {element} timeout {seconds:.0f}s }}\n"
            f"add element {TABLE} known{family} {{ {element} }}\n"
            f"delete element {TABLE} known{family} {{ {element} }}\n"
        )
        return seconds

    def known(self) -> list[Known]:
        """The destinations that answered. Costs about 20 µs each: not for a hot path."""
        found = []
        for family in (4, 6):
            for item in self._opened().ask(f"list set {TABLE} known{family}"):
                for entry in item.get("set", {}).get("elem", ()):
                    address, port = entry["elem"]["val"]["concat"]
                    found.append(Known(address, port, float(entry["elem"].get("expires", _KNOWN_LIFE))))
        return found

    def learn(self, items: Iterable[Known]) -> None:
        """Adds destinations known from elsewhere, as from before a restart. Ones that are there keep their time."""
        elements: dict[int, list[str]] = {4: [], 6: []}
        for item in items:
            family, element = _element(item.address, item.port)
            elements[family].append(f"{element} timeout {max(1, round(item.expires))}s")
        text = "".join(
            f"add element {TABLE} known{family} {{ {', '.join(listed)} }}\n"
            for family, listed in elements.items()
            if listed
        )
        if text:
            self._run(text)

    def _run(self, text: str) -> None:
        self._opened().run(text)

    def _opened(self) -> Nft:
        if self._nft is None:
            raise NftError("interception is not open")
        return self._nft


def _element(address: str, port: int) -> tuple[int, str]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, f"{parsed} . {port}"


def _installed(nft: Nft) -> bool:
    # As text: nft 1.0.6 writes broken JSON for a table that has an owner.
    return f"table {TABLE}" in nft.run("list tables inet").splitlines()
