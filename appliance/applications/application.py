"""What the ends of a flow speak. Pure: bytes and a port in, a name out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from appliance.applications import databases, directory, files, text, tls
from appliance.applications.ports import ALWAYS_ENCRYPTED, OVER_TLS, PORTS
from appliance.applications.protection import Protection, Recognised


class Application(NamedTuple):
    """`name` is a protocol's ("smb", "http", "unknown"), lower case.

    `protection`: encrypted bytes gain nothing; signed ones (SMB) do. `certain`: the bytes say so, not the port alone.
    """

    name: str
    protection: Protection = ""
    certain: bool = True

    @property
    def encrypted(self) -> bool:
        return self.protection == "encrypted"


Recogniser = Callable[[bytes, bytes], Recognised]

# The most telling come first; what stands further down has shorter marks.
_RECOGNISERS: Final[tuple[Recogniser, ...]] = (
    text.recognise,
    files.smb,
    databases.recognise,
    directory.recognise,
    files.recognise,
)


def classify(client: bytes, server: bytes, port: int) -> Application:
    """The application from the first bytes of both directions, either of which may be missing; `port` is the server's.

    Never raises, whatever the bytes are. 3 to 10 µs.
    """
    if client or server:
        if tls.is_tls(client, server):
            return Application(OVER_TLS.get(port, "tls"), "encrypted")
        for recogniser in _RECOGNISERS:
            found = recogniser(client, server)
            if found is not None:
                name, protection = found
                return Application(name, "encrypted" if tls.is_asked_for(name, client) else protection)
    return by_port(port)


def by_port(port: int) -> Application:
    """What is usual on a server's port: a guess."""
    name = PORTS.get(port) or OVER_TLS.get(port, "unknown")
    always = name in ALWAYS_ENCRYPTED or port in OVER_TLS
    return Application(name, "encrypted" if always else "", certain=False)
