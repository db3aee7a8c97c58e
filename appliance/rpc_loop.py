"""The data plane's local socket: `rpc.ServerSide` on the data plane's own loop."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.loop import READ, Loop, mask
from appliance.rpc import Handler, Request, RpcError, ServerSide, encode_event

MISSED = 200  # events kept for the first one who subscribes
MOST_OUTPUT = 8 << 20  # bytes that a slow reader may let pile up before it is dropped
SHORT_S = 1.0  # after which a connection is taken for which there was no descriptor


class RpcServer:
    """Serves `handlers` at `path` (mode 0600); `publish` goes to whoever has called `subscribe`."""

    def __init__(self, loop: Loop, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._loop = loop
        self._path = path
        self._handlers = {method: _guarded(handler) for method, handler in handlers.items()}
        self._missed: deque[bytes] = deque(maxlen=MISSED)
        self._connections: set[_Connection] = set()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a process that was killed; the supervisor runs one at a time
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        old = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(old)
        self._listener.listen(16)
        self._watch()

    def publish(self, event: object) -> None:
        """To all who have subscribed; while there is nobody, it is kept for the first."""
        line = encode_event(event)
        subscribers = [connection for connection in self._connections if connection.subscribed]
        for connection in subscribers:
            connection.send(line)
        if not subscribers:
            self._missed.append(line)

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()
        self._loop.unregister(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _watch(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.register(self._listener.fileno(), READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return  # gone again
        except OSError:
            # No descriptor is left: whoever asks waits, and asking the kernel again at once would be all we do.
            self._loop.unregister(self._listener.fileno())
            self._loop.call_later(SHORT_S, self._watch)
            return
        self._connections.add(_Connection(self._loop, sock, self._handlers, self._connections, self._missed))


def _guarded(handler: Handler) -> Handler:
    """Parameters that a handler cannot use are the asker's mistake, not this process's end."""

    def call(params: dict[str, Any]) -> Any:
        try:
            return handler(params)
        except (ValueError, TypeError, LookupError, msgspec.MsgspecError) as error:
            raise RpcError("bad_request", f"{type(error).__name__}: {error}") from error

    return call


class _Connection:
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        handlers: Mapping[str, Handler],
        siblings: set[_Connection],
        missed: deque[bytes],
    ) -> None:
        self.subscribed = False
        self._loop = loop
        self._sock = sock
        self._siblings = siblings
        self._missed = missed
        self._side = ServerSide()
        self._output = bytearray()
        self._handlers: dict[str, Handler] = {**handlers, "subscribe": self._subscribe}
        sock.setblocking(False)
        loop.register(sock.fileno(), READ, self._ready)

    def send(self, data: bytes) -> None:
        self._output += data
        self._write()

    def close(self) -> None:
        self._siblings.discard(self)
        self._loop.unregister(self._sock.fileno())
        self._sock.close()

    def _subscribe(self, _params: dict[str, object]) -> dict[str, object]:
        self.subscribed = True
        return {}

    def _ready(self, events: int) -> None:
        if events & READ:
            try:
                data = self._sock.recv(64 * 1024)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            requests: list[Request] = self._side.receive(data)
            for request in requests:
                self._side.answer(request, self._handlers)
            self._output += self._side.take_output()
            if self.subscribed and self._missed:
                self._output += b"".join(self._missed)
                self._missed.clear()
        self._write()

    def _write(self) -> None:
        try:
            while self._output:
                del self._output[: self._sock.send(self._output)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if len(self._output) > MOST_OUTPUT or (self._side.closing and not self._output):
            self.close()
            return
        self._loop.modify(self._sock.fileno(), mask(True, bool(self._output)))
