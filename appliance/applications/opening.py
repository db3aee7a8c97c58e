"""The first bytes of a flow, kept until they are enough to tell its application."""

from __future__ import annotations

from appliance.applications.application import Application, classify

OPENING = 1024  # bytes of each direction: an SMB session's set-up says in them whether it is encrypted


class Opening:
    """Up to OPENING bytes of each direction, and what can be told from them."""

    __slots__ = ("_client", "_server")

    def __init__(self) -> None:
        self._client = b""
        self._server = b""

    def add(self, from_client: bool, data: bytes | bytearray | memoryview) -> bool:
        """The next bytes of one direction, in order; True when no more are needed."""
        if from_client:
            self._client += data[: OPENING - len(self._client)]
            return len(self._client) >= OPENING
        self._server += data[: OPENING - len(self._server)]
        return len(self._server) >= OPENING

    def application(self, port: int) -> Application:
        return classify(self._client, self._server, port)
