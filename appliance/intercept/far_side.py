"""The far side's connection to the server, in the client's name or in the box's own."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from typing import Final, Literal

from appliance import marking
from appliance.intercept import marks
from appliance.intercept.listener import Endpoint, make_transparent, reset_on_close
from appliance.intercept.sockets import destroy

_TUPLE_TAKEN: Final = {errno.EADDRNOTAVAIL, errno.EADDRINUSE}


def dial(
    client: Endpoint, server: Endpoint, source: Literal["client", "box"], dscp: int = 0
) -> socket.socket:
    """Begins to connect to `server`; returns a non-blocking socket whose connect is under way (poll for writing, then
    read SO_ERROR). Closing it is an RST until `close_orderly`.

    With source "client" the server sees the client's address and port. When that tuple is still held by an older
    connection of this box, that one is destroyed and the connect is tried once more; never with another port.
    Raises OSError (a ValueError for something that is no address).
    """
    try:
        return _connect(client, server, source, dscp)
    except OSError as error:
        if source != "client" or error.errno not in _TUPLE_TAKEN:
            raise
        # It may just have gone by itself, as after the server's FIN: try again either way.
        destroy(client, server)
    return _connect(client, server, source, dscp)


def _connect(
    client: Endpoint, server: Endpoint, source: Literal["client", "box"], dscp: int
) -> socket.socket:
    version = ipaddress.ip_address(server[0]).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        reset_on_close(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # The out chain recognises our sockets by it and marks the flow on its SYN.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.FAR_SOCKET)
        if dscp:
            marking.write(sock, dscp)
        if source == "client":
            make_transparent(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(client)
        with contextlib.suppress(BlockingIOError):
            sock.connect(server)
    except BaseException:
        sock.close()
        raise
    return sock
