"""The peers' doors: where their intercepted flows come in, and what the kernel is told of that.

A door is a listener. Without one the kernel lets the peer's new flows pass, for the reason that the rules give.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from typing import Any

from appliance.events import Severity
from appliance.flows import reasons
from appliance.intercept import Accepted, BoxSpec, Interception, Listener, NftError
from appliance.loop import READ, Loop

SHORT_S = 1.0  # after which a door that had no room is tried again, or rules that the kernel refused
MOST_TOLD = 10  # of the time, the tenth in which the kernel is told: on a large hub it takes a while
NO_MEMORY = {errno.ENOBUFS, errno.ENOMEM}

# Kind, severity, subject ("": the box), text and evidence of an event.
Emit = Callable[[str, Severity, str, str, dict[str, Any]], None]


class Doors:
    """`spec` gives the rules with all doors closed; `take` is called with a peer's id for each flow that comes in,
    and says whether there was room for it."""

    def __init__(
        self,
        loop: Loop,
        interception: Interception,
        spec: Callable[[], BoxSpec],
        take: Callable[[str, Accepted], bool],
        emit: Emit,
    ) -> None:
        self._loop = loop
        self._interception = interception
        self._spec = spec
        self._take = take
        self._emit = emit
        self._wanted: set[str] = set()
        self._listeners: dict[str, Listener] = {}
        self._short: dict[
            str, int
        ] = {}  # peers whose flows pass because something ran out, and the reason for it
        self._told: set[str] = set()  # peers whose doors the kernel knows
        self._updating = False
        self._rested = 0.0  # when the kernel may be told again
        self._closed = False

    def want(self, peer: str, *, opened: bool) -> None:
        """Opens or closes a peer's door, and tells the kernel at the end of this round."""
        if opened:
            self._wanted.add(peer)
        else:
            self._wanted.discard(peer)
        self._follow(peer)
        self.update()

    def open_for(self, peer: str) -> bool:
        """Whether the kernel sends a peer's new flows here."""
        return peer in self._told

    def waiting(self) -> int:
        """Flows that wait at the door with the most of them."""
        return max((listener.waiting() for listener in self._listeners.values()), default=0)

    def close(self) -> None:
        """Closes all doors for good; flows that wait at them are reset."""
        self._closed = True
        for peer in list(self._listeners):
            self._unlisten(peer)

    def update(self) -> None:
        """Tells the kernel, at the end of this round or soon, which peers have a door and why the others have none."""
        if self._updating:
            return
        self._updating = True
        wait = self._rested - self._loop.clock()
        if wait > 0:
            self._loop.call_later(wait, self.update_now)
        else:
            self._loop.at_end(self.update_now)

    def update_now(self) -> None:
        self._updating = False
        if self._closed:
            return
        spec = self._spec()
        peers = []
        for peer in spec.peers:
            listener = self._listeners.get(peer.id)
            if listener is not None:
                peer = dataclasses.replace(peer, port4=listener.port4, port6=listener.port6)
            elif peer.id in self._short:
                peer = dataclasses.replace(peer, down_reason=self._short[peer.id])
            peers.append(peer)
        began = self._loop.clock()
        try:
            self._interception.update(dataclasses.replace(spec, peers=tuple(peers)))
            self._told = {peer.id for peer in peers if peer.id in self._listeners}
        except NftError as error:
            self._emit("intercept.failed", "error", "", f"the kernel refused the rules: {error}", {})
            self._loop.call_later(SHORT_S, self.update)
        now = self._loop.clock()
        self._rested = now + MOST_TOLD * (now - began)

    def _follow(self, peer: str) -> None:
        wanted = peer in self._wanted and peer not in self._short and not self._closed
        if wanted != (peer in self._listeners):
            if wanted:
                self._listen(peer)
            else:
                self._unlisten(peer)

    def _listen(self, peer: str) -> None:
        listener = Listener()
        try:
            listener.open()
        except OSError as error:
            listener.close()
            self._put_off(peer, error)
            text = f"flows to {peer} pass through for {SHORT_S:.0f} s: no listener ({error.strerror})"
            self._emit("intercept.failed", "error", peer, text, {})
            return
        self._listeners[peer] = listener
        for fd in listener.filenos():
            self._loop.register(fd, READ, lambda _events: self._accept(peer, listener))

    def _unlisten(self, peer: str) -> None:
        self._told.discard(peer)
        listener = self._listeners.pop(peer, None)
        if listener is not None:
            for fd in listener.filenos():
                self._loop.unregister(fd)
            listener.close()

    def _accept(self, peer: str, listener: Listener) -> None:
        try:
            waiting = listener.accept()
        except OSError as error:
            self._shut(peer, error)
            return
        for at, accepted in enumerate(waiting):
            if not self._take(peer, accepted):
                for other in waiting[at:]:
                    other.sock.close()
                self._shut(peer, OSError(errno.EMFILE, "no more flows can be open"))
                return

    def _shut(self, peer: str, error: OSError) -> None:
        """No room at all: what waits at the door is reset, new flows pass, and in a while we try again."""
        self._unlisten(peer)
        self._put_off(peer, error)
        text = f"flows to {peer} pass through for {SHORT_S:.0f} s, and those that came in last are reset"
        self._emit("intercept.failed", "error", peer, f"{text}: {error.strerror}", {})

    def _put_off(self, peer: str, error: OSError) -> None:
        self._short[peer] = reasons.MEMORY_LIMIT if error.errno in NO_MEMORY else reasons.FLOW_LIMIT
        self.update()
        self._loop.call_later(SHORT_S, lambda: self._try_again(peer))

    def _try_again(self, peer: str) -> None:
        self._short.pop(peer, None)
        self._follow(peer)
        self.update()
