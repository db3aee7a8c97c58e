"""The data plane's handle on its nftables table: what makes fail-open true."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from appliance.intercept import elements
from appliance.intercept.backoff import BackOff
from appliance.intercept.elements import Element
from appliance.intercept.nft import Nft, NftError
from appliance.intercept.rules import data_table, data_update, table
from appliance.intercept.specs import BoxSpec

# A beat may be late by two and a half intervals before new flows pass.
_LIFE_IN_BEATS: Final = 3.5
_KNOWN_LIFE: Final = 3600.0  # as the sets say
# A dead data plane's table goes when the kernel closes its socket, which a successor may outrun.
_TAKEOVER: Final = 2.0


@dataclass(frozen=True)
class Known:
    """A destination that was seen to answer; `expires` in seconds."""

    address: str
    port: int
    expires: float = _KNOWN_LIFE


class Interception:
    """The table of a data process, owned by this object's netlink socket: it vanishes with close() or the process.

    All methods raise NftError. `heartbeat` raises it when the table is gone.
    """

    def __init__(
        self, spec: BoxSpec, heartbeat_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`heartbeat_s`: seconds between calls of heartbeat()."""
        self._spec = spec
        self._table = table(spec.part)
        self._name = self._table.split()[1]
        self._clock = clock
        self._life = heartbeat_s * _LIFE_IN_BEATS
        self._nft: Nft | None = None
        self._failures = BackOff()

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
                if not self._installed(nft) or self._clock() >= deadline:
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
        """Keeps new flows intercepted for another 3.5 intervals. Costs about 30 µs."""
        # One batch: deleting first would fail for ever after one expiry, and adding an element
        # that is still there does not renew it on older kernels.
        alive = (Element(elements.interface(name), self._life) for name in self._spec.lan)
        self._change(elements.flush(self._name, "active") + elements.add(self._name, "active", alive))

    def present(self) -> bool:
        """Whether the table is still there."""
        try:
            self._change(elements.flush(self._name, "pulse"))
        except NftError:
            return False
        return True

    def update(self, spec: BoxSpec) -> None:
        """Replaces the policy in one transaction; flows, known, refused and the heartbeat stay as they are."""
        text = data_update(spec, self._spec)
        if text:
            self._opened().run(text)
        self._spec = spec

    def refuse(self, address: str, port: int) -> float:
        """Lets the destination's flows pass from now on; returns for how many seconds.

        30 at first, doubling up to an hour when it fails again soon after. To be called before the failed flow is
        closed, so that the client's retry sees the truth.
        """
        address = str(ipaddress.ip_address(address))
        seconds = self._failures.failed((address, port), self._clock())
        family, key = _family(address), elements.destination(address, port)
        refused, known, element = f"refused{family}", f"known{family}", Element(key, seconds)
        # Adding first makes the deletion possible whether or not the element was there: a batch that fails costs 15 ms
        # in the kernel. What is refused has to be seen answering again before it is known again.
        try:
            self._change(
                [
                    *elements.add(self._name, refused, [element]),
                    *elements.delete(self._name, refused, [key]),
                    *elements.add(self._name, refused, [element]),
                    *elements.add(self._name, known, [element]),
                    *elements.delete(self._name, known, [key]),
                ]
            )
        except _FullError:
            # Somebody scans. Forgetting old refusals costs their clients one more RST each.
            self._change(
                [*elements.flush(self._name, refused), *elements.add(self._name, refused, [element])]
            )
            with contextlib.suppress(_MissingError):
                self._change(elements.delete(self._name, known, [key]))
        return seconds

    def avoid(self, address: str) -> float:
        """As `refuse`, for all ports of a host whose answers go another way."""
        return self._leave("asymmetric", address)

    def avoid_client(self, address: str) -> float:
        """The same for all flows of a client of which not everything comes through this box."""
        return self._leave("one_way", address)

    def _leave(self, kind: str, address: str) -> float:
        address = str(ipaddress.ip_address(address))
        seconds = self._failures.failed((kind, address), self._clock())
        name, key = f"{kind}{_family(address)}", elements.host(address)
        element = Element(key, seconds)
        renewed = [*elements.delete(self._name, name, [key]), *elements.add(self._name, name, [element])]
        try:
            self._change([*elements.add(self._name, name, [element]), *renewed])
        except _FullError:
            self._change([*elements.flush(self._name, name), *elements.add(self._name, name, [element])])
        return seconds

    def known(self) -> list[Known]:
        """The destinations that answered. Costs about 10 µs each; may run in another thread, in the same namespace."""
        try:
            return [
                Known(*elements.destination_of(element.key), expires=element.seconds or _KNOWN_LIFE)
                for family in (4, 6)
                for element in elements.listed(self._name, f"known{family}")
            ]
        except OSError as error:
            raise self._failure(error) from error

    def learn(self, items: Iterable[Known]) -> None:
        """Adds destinations known from elsewhere, as from before a restart. Ones that are there keep their time."""
        listed: dict[int, list[Element]] = {4: [], 6: []}
        for item in items:
            element = Element(elements.destination(item.address, item.port), item.expires)
            listed[_family(item.address)].append(element)
        self._change(
            [part for family in (4, 6) for part in elements.add(self._name, f"known{family}", listed[family])]
        )

    def _change(self, changes: Iterable[bytes]) -> None:
        try:
            self._opened().change(changes)
        except OSError as error:
            raise self._failure(error) from error

    def _opened(self) -> Nft:
        if self._nft is None:
            raise NftError("interception is not open")
        return self._nft

    def _installed(self, nft: Nft) -> bool:
        # As text: nft 1.0.6 writes broken JSON for a table that has an owner.
        return f"table {self._table}" in nft.run("list tables inet").splitlines()

    def _failure(self, error: OSError) -> NftError:
        kind = {errno.ENOENT: _MissingError, errno.ENFILE: _FullError}.get(error.errno or 0, NftError)
        return kind(f"table {self._table}: {error.strerror}")


class _MissingError(NftError):
    """The table, the set or the element is not there."""


class _FullError(NftError):
    """The set has no room left."""


def _family(address: str) -> int:
    return ipaddress.ip_address(address).version
