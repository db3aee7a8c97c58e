"""The control protocol of `rpc` for asyncio: a server, and a connection that comes back by itself."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.rpc import (
    LONGEST_ANSWER,
    Lines,
    LineTooLongError,
    Params,
    Reply,
    Request,
    RpcError,
    ServerSide,
    decode_reply,
    encode_error,
    encode_event,
    encode_request,
    encode_result,
)

AsyncHandler = Callable[[Params], Awaitable[Any]]

MOST_UNREAD = 8 * 2**20  # bytes a reader may let pile up before it is dropped
RETRY_S = 0.1


class Server:
    """Serves `handlers` at a path, to its owner and group. `on_bug` is told of exceptions that handlers let through."""

    def __init__(
        self, handlers: Mapping[str, AsyncHandler], on_bug: Callable[[str, Exception], None]
    ) -> None:
        self._handlers = handlers
        self._on_bug = on_bug
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._subscribers: set[asyncio.StreamWriter] = set()

    async def start(self, path: Path) -> None:
        """Listen at `path`, in the place of whatever socket was left there. OSError as it comes."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=_bound(path, socket.SOCK_STREAM, 0o117)
        )

    def publish(self, event: object) -> None:
        """Send `event` to all who have subscribed; who does not read is dropped."""
        line = encode_event(event)
        for writer in list(self._subscribers):
            writer.write(line)
            if writer.transport.get_write_buffer_size() > MOST_UNREAD:
                writer.transport.abort()

    async def close(self) -> None:
        """Stop listening and end all connections, after what has been said to them is sent or 1 s has passed."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        try:
            async with asyncio.timeout(
                1
            ):  # for all of them: the orderly stop must not wait for who does not read
                await asyncio.gather(
                    *(writer.wait_closed() for writer in self._writers), return_exceptions=True
                )
        except TimeoutError:
            for writer in list(self._writers):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        side = ServerSide()
        self._writers.add(writer)
        try:
            while not side.closing and (data := await reader.read(262144)):
                for request in side.receive(data):
                    writer.write(await self._answer(request, writer))
                    await writer.drain()  # who asks without reading gets no further
                writer.write(side.take_output())
                await writer.drain()
        except ConnectionError:
            pass  # the other end is gone: nothing is left to be said
        finally:
            self._subscribers.discard(writer)
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bytes:
        try:
            if request.method == "subscribe":
                self._subscribers.add(writer)
                return encode_result(request.id, {})
            handler = self._handlers.get(request.method)
            if handler is None:
                raise RpcError("not_found", f"there is no method {request.method}")
            return encode_result(request.id, await handler(request.params))
        except RpcError as error:
            return encode_error(request.id, error)
        except Exception as error:  # noqa: BLE001 - one request must not end the daemon; it is told as an event
            self._on_bug(request.method, error)
            return encode_error(request.id, RpcError("internal", f"{request.method} failed: {error}"))


def datagrams(path: Path) -> socket.socket:
    """A non-blocking datagram socket at `path`, for its owner only. OSError as it comes."""
    return _bound(path, socket.SOCK_DGRAM, 0o177)


def _bound(path: Path, kind: socket.SocketKind, mask: int) -> socket.socket:
    path.unlink(missing_ok=True)  # of a process that was killed; the supervisor runs one at a time
    bound = socket.socket(socket.AF_UNIX, kind)
    bound.setblocking(False)
    before = os.umask(mask)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound


class Connection:
    """A client's connection that is made again whenever it is lost.

    `on_up` runs as a task after each connect, `on_down` after each loss, `on_event` for each event.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_event: Callable[[Any], None],
        on_up: Callable[[], Awaitable[None]],
        on_down: Callable[[], None],
    ) -> None:
        self._path = path
        self._on_event = on_event
        self._on_up = on_up
        self._on_down = on_down
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._last_id = 0
        self.since = time.time()
        """When the connection was made or lost, seconds since 1970."""

    @property
    def up(self) -> bool:
        """Whether somebody is there."""
        return self._writer is not None

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._path))
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            self._writer, self.since = writer, time.time()
            greeting = asyncio.create_task(self._greet(writer))
            try:
                await self._read(reader)
            finally:
                greeting.cancel()
                self._writer, self.since = None, time.time()
                writer.close()
                self._fail_waiting()
            self._on_down()
            await asyncio.sleep(RETRY_S)

    async def call(self, method: str, params: Params | None = None, *, within: float = 5.0) -> Any:
        """The result of `method`; RpcError if that is an error.

        Its kind is `unavailable` if nobody is there to be asked, and `lost` if who was asked is gone or does not
        answer `within` seconds.
        """
        if self._writer is None:
            raise RpcError("unavailable", "the data plane is not running")
        self._last_id += 1
        number = self._last_id
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(encode_request(number, method, params or {}))
        try:
            async with asyncio.timeout(within):
                reply = await future
        except TimeoutError:
            raise RpcError("lost", f"the data plane does not answer within {within:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if reply.error is not None:
            raise RpcError(reply.error.kind, reply.error.message)
        return reply.result

    async def _greet(self, writer: asyncio.StreamWriter) -> None:
        try:
            await self.call("subscribe")
        except RpcError:
            writer.close()  # gone again, or hung: `run` begins anew
            return
        await self._on_up()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        lines = Lines(LONGEST_ANSWER)
        try:
            while data := await reader.read(262144):
                for line in lines.feed(data):
                    reply = decode_reply(line)
                    if reply.id is None:
                        self._on_event(reply.event)
                    elif (future := self._waiting.get(reply.id)) is not None and not future.done():
                        future.set_result(reply)
        except (ConnectionError, LineTooLongError, msgspec.DecodeError):
            return  # as good as gone: it is connected to anew

    def _fail_waiting(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RpcError("lost", "the data plane has ended while it was asked"))
