"""The sd_notify protocol, client side: a daemon tells its supervisor (ours or systemd) how it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

EXTEND_S = 5.0  # of grace for a stop, each time that it is asked for


class Notifier:
    """Says READY=1 and so on to the socket in NOTIFY_SOCKET; does nothing where there is none.

    Never blocks and never raises: each method returns whether the message was handed over (a supervisor that is gone
    or stuck must not take the daemon with it).
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            )
        late = environment.get("WATCHDOG_USEC", "")
        self.interval_s: float | None = int(late) / 2e6 if self._socket and late.isdigit() else None
        """How often `watchdog` must be called at least, in seconds (half of the supervisor's patience); None: never."""

    def ready(self) -> bool:
        """The daemon serves."""
        return self._send("READY=1")

    def watchdog(self) -> bool:
        """The daemon is alive and its work goes on."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The daemon has begun to stop in good order."""
        return self._send("STOPPING=1")

    def extend(self) -> bool:
        """The stop goes on, and takes a few seconds more: to be said again and again."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(EXTEND_S * 1e6)}")

    def status(self, text: str) -> bool:
        """One line for a person."""
        return self._send("STATUS=" + " ".join(text.split()))

    def _send(self, message: str) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            return False
        return True
