"""The data plane's part of a capture: frames of one stream go to a socket, and never wait for its reader."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from appliance.capture.frame_text import stream_of
from appliance.capture.record import MOST_BYTES, FrameRecord
from appliance.events import Severity
from appliance.flows.flow import Flow
from appliance.lanes.frames import Address
from appliance.lanes.lane import Lane
from appliance.loop import Loop, Timer
from appliance.peer import Peer
from appliance.rpc import RpcError

_QUEUE = 4 << 20  # bytes of records that may wait for the reader


class Feed:
    """At most one capture at a time; while there is none, a lane pays one comparison a frame."""

    def __init__(self, loop: Loop, emit: Callable[[str, Severity, str, str, dict[str, Any]], None]) -> None:
        """`emit` takes an event: its kind, severity, subject, text and evidence."""
        self._loop = loop
        self._emit = emit
        self._socket: socket.socket | None = None
        self._expiry: Timer | None = None
        self._owner: object = None
        self._stream = 0
        self._lost = 0

    def start(self, peers: Iterable[Peer], params: dict[str, Any]) -> dict[str, Any]:
        """`client` and `server` name the flow, `socket` is where the frames go, for `seconds`. RpcError.

        It ends earlier when nobody listens at that socket any more.
        """
        peer, flow = _find(peers, _address(params["client"]), _address(params["server"]))
        if self._socket is not None:
            raise RpcError("refused", "a capture is going on already; end it first")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)
            sock.connect(str(params["socket"]))
        except OSError as error:
            sock.close()
            raise RpcError("bad_request", f"{params['socket']}: {error.strerror}") from None
        self._socket, self._owner, self._stream, self._lost = sock, peer.attachment, flow.stream, 0
        self._expiry = self._loop.call_later(float(params["seconds"]), self.stop)
        Lane.tap = self._frame
        # Whoever reads what others say is seen doing it.
        text = f"root captures the flow from {flow.client[0]} port {flow.client[1]} to {flow.server[0]}"
        self._emit("capture.started", "warning", peer.id, text, {"stream": flow.stream})
        local, remote = flow.lan_ends
        return {"peer": peer.id, "stream": flow.stream, "local": list(local), "remote": list(remote)}

    def stop(self) -> None:
        """Ends the capture, if there is one."""
        Lane.tap = None
        if self._expiry is not None:
            self._expiry.cancel()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._expiry = self._owner = None

    def _frame(self, lane: Lane, sent: bool, kind: int, body: bytes) -> None:
        if lane.owner is not self._owner or stream_of(kind, body) != self._stream or self._socket is None:
            return
        try:
            local, remote = lane.ends
            record = FrameRecord(
                time.time(), sent, kind, self._lost, len(body), local, remote, body[:MOST_BYTES]
            )
            self._socket.send(record.encode())
        except BlockingIOError:
            self._lost += 1
        except OSError:
            self.stop()


def _find(peers: Iterable[Peer], client: Address, server: Address) -> tuple[Peer, Flow]:
    for peer in peers:
        for flow in peer.flows.values():
            if flow.client == client and flow.server == server:
                return peer, flow
    raise RpcError(
        "not_found", f"no optimised flow from {client[0]} port {client[1]} to {server[0]} port {server[1]}"
    )


def _address(value: Any) -> Address:
    host, port = value
    return str(host), int(port)
