"""The asyncio server and the connection that comes back."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance import rpc_asyncio
from appliance.rpc import LONGEST_LINE, Client, Params, RpcError, decode_reply, encode_request
from appliance.rpc_asyncio import Connection, Server

DEADLINE_S = 10.0


async def double(params: Params) -> Any:
    return params["n"] * 2


async def hang(_params: Params) -> Any:
    await asyncio.Event().wait()


def run(scenario: Callable[[Path], Awaitable[None]], directory: Path) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scenario(directory / "s")

    asyncio.run(bounded())


def test_requests_bugs_and_strangers(tmp_path: Path) -> None:
    bugs: list[tuple[str, str]] = []

    async def scenario(path: Path) -> None:
        server = Server({"double": double}, lambda method, error: bugs.append((method, repr(error))))
        await server.start(path)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(encode_request(1, "double", {"n": 4}) + encode_request(2, "double", {}))
        writer.write(encode_request(3, "none", {}) + b"garbage\n")
        replies = [decode_reply(await reader.readline()) for _ in range(4)]
        assert replies[0].result == 8
        assert [reply.error.kind for reply in replies[1:] if reply.error] == [
            "internal",
            "not_found",
            "bad_request",
        ]
        assert bugs == [("double", "KeyError('n')")]
        writer.write(b"x" * (LONGEST_LINE + 1))
        assert b"longer than" in await reader.readline()
        assert await reader.read() == b"", "closed"
        writer.close()
        await server.close()

    (tmp_path / "s").touch()  # left by a process that was killed
    run(scenario, tmp_path)


def test_a_subscriber_that_does_not_read_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_asyncio, "MOST_UNREAD", 100_000)

    async def scenario(path: Path) -> None:
        server = Server({}, lambda method, error: None)
        await server.start(path)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, str(path))
            await loop.sock_sendall(deaf, encode_request(1, "subscribe", {}))
            await loop.sock_recv(deaf, 100)
            for _ in range(100):
                server.publish("x" * 10_000)
            received = 0
            try:
                while data := await loop.sock_recv(deaf, 1 << 20):
                    received += len(data)
            except ConnectionResetError:
                pass
            assert received < 900_000
        await server.close()

    run(scenario, tmp_path)


def test_askers_that_do_not_read_hold_nothing_up(tmp_path: Path) -> None:
    answered = []

    async def large(_params: Params) -> str:
        answered.append(1)
        return "x" * 10_000

    async def scenario(path: Path) -> None:
        server = Server({"large": large}, lambda method, error: None)
        await server.start(path)
        loop = asyncio.get_running_loop()
        deaf = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for connection in deaf:
            connection.setblocking(False)
            await loop.sock_connect(connection, str(path))
            await loop.sock_sendall(connection, encode_request(1, "large", {}) * 1000)
        done, quiet = -1, 0
        while quiet < 100:  # rounds of the loop in which nothing was answered
            quiet = quiet + 1 if len(answered) == done else 0
            done = len(answered)
            await asyncio.sleep(0)
        assert done < 1000, "a bounded number of answers waits for each"
        began = loop.time()
        await server.close()
        assert loop.time() - began < 3, "all of them together are given a second"
        for connection in deaf:
            connection.close()

    run(scenario, tmp_path)


def test_a_long_answer(tmp_path: Path) -> None:
    up = asyncio.Event()

    async def on_up() -> None:
        up.set()

    async def long(_params: Params) -> str:
        return "x" * (LONGEST_LINE + 1)

    async def scenario(path: Path) -> None:
        server = Server({"long": long}, lambda method, error: None)
        await server.start(path)
        connection = Connection(path, on_event=lambda _: None, on_up=on_up, on_down=up.clear)
        task = asyncio.create_task(connection.run())
        await up.wait()
        assert len(await connection.call("long")) > LONGEST_LINE
        with await asyncio.to_thread(Client, path) as client:
            assert len(await asyncio.to_thread(client.call, "long")) > LONGEST_LINE
        assert up.is_set()
        task.cancel()
        await server.close()

    run(scenario, tmp_path)


def test_a_connection_is_made_again(tmp_path: Path) -> None:
    happened: asyncio.Queue[str] = asyncio.Queue()

    async def up() -> None:
        happened.put_nowait("up")

    async def scenario(path: Path) -> None:
        connection = Connection(
            path, on_event=happened.put_nowait, on_up=up, on_down=lambda: happened.put_nowait("down")
        )
        with pytest.raises(RpcError, match="not running") as caught:
            await connection.call("double", {"n": 1})
        assert caught.value.kind == "unavailable"
        task = asyncio.create_task(connection.run())
        for n in range(2):
            server = Server({"double": double, "hang": hang}, lambda method, error: None)
            await server.start(path)
            assert await happened.get() == "up"
            assert await connection.call("double", {"n": n}) == 2 * n
            server.publish("event")
            assert await happened.get() == "event"
            with pytest.raises(RpcError, match=r"does not answer within 0\.05 s") as caught:
                await connection.call("hang", within=0.05)
            assert caught.value.kind == "lost"
            asked = asyncio.create_task(connection.call("hang"))
            await asyncio.sleep(0)  # it has asked
            await server.close()
            with pytest.raises(RpcError, match="while it was asked") as caught:
                await asked
            assert caught.value.kind == "lost"
            assert await happened.get() == "down"
            assert not connection.up
        task.cancel()

    run(scenario, tmp_path)
