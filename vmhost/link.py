"""The connection to libvirtd, in a thread with an event loop of its own.

libvirt's calls block, and its event loop integration (libvirtaio) is for one thread: so both live here, and who asks
waits on a loop of his own that is never held up. The connection is made again whenever it is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from vmhost.errors import VmError

RETRY_S = 0.5
KEEPALIVE_S, KEEPALIVES = 5, 3  # a libvirtd that hangs is taken for gone after their product
LOOK_S = 10.0
CHANGE_S = 120.0  # libvirt probes QEMU anew after an update of either, which takes a while

T = TypeVar("T")
DomainEvent = Callable[[str, int, int], None]


class Link:
    """To the libvirtd of `uri`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.on_agent: Callable[[], None] = _nobody
        """Called on the loop of who has started it when a guest's agent has come or gone."""
        self._on_event: DomainEvent = _nobody
        self._on_up: Callable[[], None] = _nobody
        self._on_down: Callable[[str], None] = _nobody
        self._owner: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._hearing: list[int] = []  # libvirt's numbers of our ears for events
        self._said_down = False
        self.connects = 0
        """How often a libvirtd has been found."""
        self.trouble = "libvirt has not been asked yet"
        """Why there is no connection; empty while there is one."""

    def start(
        self, *, on_event: DomainEvent, on_up: Callable[[], None], on_down: Callable[[str], None]
    ) -> None:
        """Begin, in a thread that does not keep the process from ending. The callbacks run on the caller's loop.

        `on_event` has a domain's name, its lifecycle event and that event's detail (numbers of libvirt's API);
        `on_up` runs after each connect, `on_down` has the reason after each loss, and once if there is nobody at first.
        """
        self._on_event, self._on_up, self._on_down = on_event, on_up, on_down
        self._owner = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="libvirt", daemon=True).start()

    async def do(self, call: Callable[[Any], T], within: float = LOOK_S) -> T:
        """What `call(connection)` returns, from the thread; VmError for libvirt's errors and for its silence."""
        if self.trouble or self._loop is None:
            raise VmError("unavailable", self.trouble)
        work = asyncio.run_coroutine_threadsafe(self._call(call), self._loop)
        try:
            async with asyncio.timeout(within):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise VmError(
                "unavailable", f"libvirtd does not answer within {within:g} s; see its log"
            ) from None

    async def _call(self, call: Callable[[Any], T]) -> T:
        import libvirt

        if self._connection is None:
            raise VmError("unavailable", self.trouble)
        try:
            return call(self._connection)
        except libvirt.libvirtError as error:
            if self._connection is None or not self._connection.isAlive():
                raise VmError("unavailable", f"libvirtd was lost meanwhile ({error})") from None
            missing = error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN
            raise VmError("not_found" if missing else "failed", str(error)) from None

    def _run(self) -> None:
        try:
            import libvirt
            import libvirtaio
        except ImportError as error:
            self.trouble = f"libvirt-python cannot be used ({error}); install branchline[vm]"
            self._tell(self._on_down, self.trouble)
            return
        libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised; it would print them as well
        asyncio.run(self._keep(libvirt, libvirtaio))

    async def _keep(self, libvirt: Any, libvirtaio: Any) -> None:
        self._loop = asyncio.get_running_loop()
        libvirtaio.virEventRegisterAsyncIOImpl(self._loop)
        while True:
            lost = asyncio.Event()
            try:
                self._connection = self._connect(libvirt, lost)
            except libvirt.libvirtError as error:
                self._down(f"libvirt does not answer at {self.uri}: {error}")
                await asyncio.sleep(RETRY_S)
                continue
            self.connects += 1
            self.trouble, self._said_down = "", False
            self._tell(self._on_up)
            await lost.wait()
            self._let_go(libvirt)
            self._down(f"the connection to libvirt at {self.uri} is lost")
            await asyncio.sleep(RETRY_S)

    def _connect(self, libvirt: Any, lost: asyncio.Event) -> Any:
        connection = libvirt.open(self.uri)
        connection.registerCloseCallback(lambda *_: lost.set(), None)
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVES)

        def heard(_connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
            self._tell(self._on_event, domain.name(), event, detail)

        agent = libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE
        self._hearing = [
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, heard, None),
            connection.domainEventRegisterAny(None, agent, lambda *_: self._tell(self.on_agent), None),
        ]
        return connection

    def _let_go(self, libvirt: Any) -> None:
        """Of a connection that is lost: what is registered with it would keep it, and all it has, in memory."""
        connection, self._connection = self._connection, None
        for forget in (
            *(partial(connection.domainEventDeregisterAny, number) for number in self._hearing),
            connection.unregisterCloseCallback,
            connection.close,
        ):
            with contextlib.suppress(libvirt.libvirtError):  # there is nobody left to be told
                forget()

    def _down(self, trouble: str) -> None:
        self.trouble = trouble
        if not self._said_down:
            self._said_down = True
            self._tell(self._on_down, trouble)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        if self._owner is not None and not self._owner.is_closed():
            self._owner.call_soon_threadsafe(callback, *arguments)


def _nobody(*_: object) -> None:
    """Nobody listens yet."""
