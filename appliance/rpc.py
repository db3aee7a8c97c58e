"""Requests and answers on the daemons' local sockets: one JSON object a line.

    → {"id": 1, "method": "status", "params": {}}
    ← {"id": 1, "result": …}  or  {"id": 1, "error": {"kind": "not_found", "message": "…"}}
    ← {"event": {…}}          any number of them, at any time after the method `subscribe`

`ServerSide` is the protocol without sockets, for any event loop; `Client` is a blocking client. The asyncio server
and client are in `rpc_asyncio`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

LONGEST_LINE = 4 * 2**20  # of a request: anybody may be the sender
LONGEST_ANSWER = 256 * 2**20  # of a daemon, which is trusted not to be endless

Params = dict[str, Any]
Handler = Callable[[Params], Any]


class RpcError(Exception):
    """An answer that is an error.

    `kind` is for programs: bad_request, config, not_found, refused (and nothing was changed), failed (perhaps half
    way), unavailable (nobody was asked), lost (asked, but no answer came), internal.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class UnreachableError(OSError):
    """Nobody answers at the socket: the daemon does not run, or does not listen any more."""


class LineTooLongError(ValueError):
    """A line is longer than allowed; what follows cannot be understood."""


class Request(msgspec.Struct, frozen=True):
    """A call of `method`. `id` is echoed in the answer."""

    id: int
    method: str
    params: Params = {}


class Failure(msgspec.Struct, frozen=True):
    """The error of an answer."""

    kind: str
    message: str


class Reply(msgspec.Struct, frozen=True):
    """A line from the server: an answer if `id` is there, else an event."""

    id: int | None = None
    result: Any = None
    error: Failure | None = None
    event: Any = None


_encoder = msgspec.json.Encoder(enc_hook=str)
_requests = msgspec.json.Decoder(Request)
_replies = msgspec.json.Decoder(Reply)


def encode_request(request_id: int, method: str, params: Params) -> bytes:
    """The line of a request."""
    return _encoder.encode({"id": request_id, "method": method, "params": params}) + b"\n"


def encode_result(request_id: int, result: object) -> bytes:
    """The line of a good answer; `result` is anything that msgspec can write, other objects become their `str`."""
    return _encoder.encode({"id": request_id, "result": result}) + b"\n"


def encode_error(request_id: int, error: RpcError) -> bytes:
    """The line of an answer that is an error."""
    return _encoder.encode({"id": request_id, "error": Failure(error.kind, error.message)}) + b"\n"


def encode_event(event: object) -> bytes:
    """The line of an event."""
    return _encoder.encode({"event": event}) + b"\n"


def decode_reply(line: bytes) -> Reply:
    """What the server said; msgspec.DecodeError if it is not in the protocol."""
    try:
        return _replies.decode(line)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these through as they are
        raise msgspec.DecodeError(str(error)) from None


class Lines:
    """Cuts bytes, as they come, into lines without their newlines."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. LineTooLongError once a line cannot fit; then nothing more is taken."""
        searched = len(self._rest)
        self._rest += data
        lines, start = [], 0
        while (end := self._rest.find(b"\n", max(start, searched))) >= 0:
            if end - start > self._longest:
                break
            lines.append(bytes(self._rest[start:end]))
            start = end + 1
        del self._rest[:start]
        if len(self._rest) > self._longest:
            self._rest = bytearray()
            raise LineTooLongError(f"a line is longer than {self._longest} bytes")
        return lines


class ServerSide:
    """The server's end of one connection, without the connection.

    Feed it what was received and answer the requests it returns. What it has to say itself (to lines that are no
    requests) is collected in `output`. When `closing` is set, send `output`, then close.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self.output = bytearray()
        self.closing = False

    def receive(self, data: bytes) -> list[Request]:
        """The requests that `data` completes, in order."""
        if self.closing:
            return []
        requests = []
        try:
            lines = self._lines.feed(data)
        except LineTooLongError as error:
            self.output += encode_error(0, RpcError("bad_request", str(error)))
            self.closing = True
            return []
        for line in lines:
            try:
                requests.append(_requests.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.output += encode_error(0, RpcError("bad_request", f"not a request: {error}"))
        return requests

    def answer(self, request: Request, handlers: Mapping[str, Handler]) -> None:
        """Append to `output` what the handler of the request's method returns, or the error that it raises.

        An OSError (an address that is not there, no memory) is the asker's to know of: kind `failed`.
        """
        handler = handlers.get(request.method)
        try:
            if handler is None:
                raise RpcError("not_found", f"there is no method {request.method}")
            self.output += encode_result(request.id, handler(request.params))
        except RpcError as error:
            self.output += encode_error(request.id, error)
        except OSError as error:
            self.output += encode_error(request.id, RpcError("failed", str(error)))

    def take_output(self) -> bytes:
        """All of `output`, which is empty then."""
        data = bytes(self.output)
        self.output.clear()
        return data


class Client:
    """A blocking connection to a daemon's socket. `timeout` (seconds) holds for each answer, not for events."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout
        self._lines = Lines(LONGEST_ANSWER)
        self._replies: list[Reply] = []
        self._last_id = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except PermissionError:
            self._socket.close()
            raise
        except OSError as error:
            self._socket.close()
            raise UnreachableError(f"nobody answers at {path} ({error.strerror or error})") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def call(self, method: str, **params: object) -> Any:
        """The result of `method`. RpcError for an error, TimeoutError, UnreachableError if it is gone."""
        self._last_id += 1
        self._socket.settimeout(self._timeout)
        try:
            self._socket.sendall(encode_request(self._last_id, method, params))
        except (BrokenPipeError, ConnectionResetError):
            raise UnreachableError(f"the daemon at {self._path} has gone away") from None
        while True:
            reply = self._next()
            # An id of 0 answers a line that the server could not read: there is only ours.
            if reply.id in (self._last_id, 0):
                if reply.error is not None:
                    raise RpcError(reply.error.kind, reply.error.message)
                return reply.result

    def subscribe(self) -> None:
        """From now on `events` has what happens. What happens before the answer to a later `call` is not among it."""
        self.call("subscribe")

    def events(self) -> Iterator[Any]:
        """Every event as it comes, after `subscribe`, until the daemon goes away (UnreachableError)."""
        self._socket.settimeout(None)
        while True:
            reply = self._next()
            if reply.id is None:
                yield reply.event

    def _next(self) -> Reply:
        while not self._replies:
            try:
                data = self._socket.recv(262144)
            except ConnectionResetError:
                data = b""
            if not data:
                raise UnreachableError(f"the daemon at {self._path} has gone away")
            try:
                self._replies += [decode_reply(line) for line in self._lines.feed(data)]
            except (msgspec.DecodeError, LineTooLongError):
                raise UnreachableError(f"who answers at {self._path} is not branchline") from None
        return self._replies.pop(0)
