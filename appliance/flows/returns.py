"""Finds out whether a server that does not answer a client answers this box.

Then its answers to the client go another way, past this box, and no flow to it can be carried in the client's name.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from appliance.flows.flow import Flow
from appliance.lanes.frames import Address
from appliance.loop import WRITE, Loop

ASK_S = 2.0  # without an answer, by which time the kernel has sent two SYNs
ANSWER_S = 1.0  # for the box's own SYN


class Returns:
    """`dial` begins to connect from the box's own address; `found` gets the flows whose answers go another way."""

    def __init__(
        self,
        loop: Loop,
        dial: Callable[[Address], socket.socket],
        found: Callable[[Address, list[Flow]], None],
    ) -> None:
        self._loop = loop
        self._dial = dial
        self._found = found
        self._waiting: dict[Address, list[Flow]] = {}

    def watch(self, flow: Flow) -> None:
        """A flow has begun to connect in a client's name."""
        self._loop.call_later(ASK_S, lambda: self._ask(flow))

    def _ask(self, flow: Flow) -> None:
        if not flow.connecting:
            return
        waiting = self._waiting.setdefault(flow.server, [])
        waiting.append(flow)
        if len(waiting) > 1:
            return  # asked already
        try:
            sock = self._dial(flow.server)
        except OSError:
            del self._waiting[flow.server]
            return
        timer = self._loop.call_later(ANSWER_S, lambda: self._end(sock, flow.server, answered=False))

        def ready(_events: int) -> None:
            timer.cancel()
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._end(sock, flow.server, answered=error in (0, errno.ECONNREFUSED))

        self._loop.register(sock.fileno(), WRITE, ready)

    def _end(self, sock: socket.socket, server: Address, *, answered: bool) -> None:
        self._loop.unregister(sock.fileno())
        sock.close()
        flows = [flow for flow in self._waiting.pop(server) if flow.connecting]
        if answered and flows:
            self._found(server, flows)
