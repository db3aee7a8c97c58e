"""When the peer is told how far its sessions have come: together, along with what leaves anyway, or alone at last."""

from __future__ import annotations

from collections.abc import Callable

from appliance.lanes import frames
from appliance.lanes.link import Role
from appliance.lanes.session import Receiver
from appliance.loop import Loop, Timer

ACK_S = 0.04  # an acknowledgement waits this long for more to acknowledge,
ACK_ALONG = 8  # or for so many frames; then the next message takes it along,
ACK_LATEST_S = 0.3  # and if there is none, not even a heartbeat, it goes alone


class Acknowledging:
    """Both sessions' counts, and the ACKs that tell of them; `send(role, frame)` sends one by itself."""

    def __init__(self, loop: Loop, send: Callable[[Role, bytes], None]) -> None:
        self._loop = loop
        self._send = send
        self._received = {role: Receiver() for role in Role}
        self._timers: dict[Role, Timer] = {}

    def begin_anew(self) -> None:
        """Another association: everything counts from the start."""
        self._received = {role: Receiver() for role in Role}

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def arrived(self, role: Role) -> int:
        """Session frames that have arrived, which is where the peer goes on over another lane."""
        return self._received[role].arrived

    def received(self, role: Role) -> int:
        """Those of them that are done with."""
        return self._received[role].received

    def progress(self) -> int:
        """Session frames that have arrived in this association."""
        return sum(received.arrived for received in self._received.values())

    def arrive(self, role: Role) -> None:
        """One more frame has arrived."""
        self._received[role].arrived += 1

    def took(self, role: Role, work: int) -> None:
        """One more frame is done with, `work` original bytes."""
        if self._received[role].took(work):
            self._acknowledge(role)
        elif role not in self._timers:
            delay = ACK_LATEST_S if role is Role.EXPRESS else ACK_S
            self._timers[role] = self._loop.call_later(delay, lambda: self._acknowledge(role))

    def announce(self, role: Role) -> bytes:
        """An ACK of everything, to be sent now."""
        return frames.ack(self._received[role].announce())

    def ride(self) -> list[bytes]:
        """What an express frame that is leaving takes along."""
        received, timer = self._received[Role.EXPRESS], self._timers.get(Role.EXPRESS)
        due = timer is not None and timer.due - self._loop.now < ACK_LATEST_S - ACK_S
        if received.pending < ACK_ALONG and not (received.pending and due):
            return []
        if timer is not None:
            timer.cancel()
            del self._timers[Role.EXPRESS]
        return [self.announce(Role.EXPRESS)]

    def _acknowledge(self, role: Role) -> None:
        timer = self._timers.pop(role, None)
        if timer is not None:
            timer.cancel()
        if self._received[role].pending:
            self._send(role, self.announce(role))
