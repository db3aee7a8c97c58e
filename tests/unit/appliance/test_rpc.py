"""The lines of the control protocol: any cut, any garbage, one answer each."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.rpc import (
    LONGEST_LINE,
    Client,
    Lines,
    LineTooLongError,
    Params,
    Request,
    RpcError,
    ServerSide,
    UnreachableError,
    decode_reply,
    encode_event,
    encode_request,
    encode_result,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))), st.lists(st.integers(0)))
def test_lines_survive_any_cut(lines: list[bytes], places: list[int]) -> None:
    framing = Lines()
    data = b"".join(line + b"\n" for line in lines)
    assert [line for part in cut(data, places) for line in framing.feed(part)] == lines


@given(st.lists(st.binary(max_size=8)))
def test_a_line_is_bounded_however_it_comes(parts: list[bytes]) -> None:
    framing, data = Lines(longest=10), b"".join(parts)
    longest = max(len(line) for line in data.split(b"\n"))
    try:
        for part in parts:
            framing.feed(part)
    except LineTooLongError:
        assert longest > 10
    else:
        assert longest <= 10


@given(st.integers(0, 2**62), st.text("abc."), st.dictionaries(st.text("ab"), st.integers(-9, 9) | st.none()))
def test_a_request_there_and_back(request_id: int, method: str, params: Params) -> None:
    assert ServerSide().receive(encode_request(request_id, method, params)) == [
        Request(request_id, method, params)
    ]


@given(st.lists(st.binary(max_size=60)))
def test_garbage_is_answered_and_hurts_nobody(garbage: list[bytes]) -> None:
    server = ServerSide()
    for part in garbage:
        server.receive(part)
    server.receive(b"\n")
    for line in server.take_output().splitlines():
        error = decode_reply(line).error
        assert error is not None
        assert error.kind == "bad_request"
    assert server.receive(encode_request(7, "status", {})) == [Request(7, "status")]


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"null", b'{"id":1}', b'{"id":"1","method":"m"}', b'{"id":1,"method":"m","params":[]}',
             b"[" * 100_000, b'{"id":1,"method":"\xff"}', b""],
)  # fmt: skip
def test_what_is_no_request(line: bytes) -> None:
    server = ServerSide()
    assert server.receive(line + b"\n") == []
    assert b"not a request" in server.take_output()
    assert not server.closing


def test_a_line_without_end_closes() -> None:
    server = ServerSide()
    for _ in range(LONGEST_LINE // 2**20 + 1):
        server.receive(b"x" * 2**20)
    assert server.closing
    error = decode_reply(server.take_output()).error
    assert error is not None
    assert "longer than" in error.message
    assert server.receive(encode_request(1, "status", {})) == []


def cannot(_params: Params) -> Any:
    raise OSError(99, "Cannot assign requested address")


def refuse(params: Params) -> Any:
    raise RpcError("refused", f"not {params['what']}")


def test_answers() -> None:
    server = ServerSide()
    handlers = {"double": lambda params: params["n"] * 2, "refuse": refuse, "cannot": cannot}
    for request in (
        Request(1, "double", {"n": 4}),
        Request(2, "refuse", {"what": "this"}),
        Request(3, "other"),
        Request(4, "cannot"),
    ):
        server.answer(request, handlers)
    assert [json.loads(line) for line in server.take_output().splitlines()] == [
        {"id": 1, "result": 8},
        {"id": 2, "error": {"kind": "refused", "message": "not this"}},
        {"id": 3, "error": {"kind": "not_found", "message": "there is no method other"}},
        {"id": 4, "error": {"kind": "failed", "message": "[Errno 99] Cannot assign requested address"}},
    ]


def serve(path: Path, script: list[bytes]) -> threading.Thread:
    """One connection; each received line is answered by the next of `script`, then it is closed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        connection, _ = listener.accept()
        with listener, connection, connection.makefile("rb") as lines:
            for reply in script:
                lines.readline()
                connection.sendall(reply)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_client(tmp_path: Path) -> None:
    path = tmp_path / "s"
    three = b"".join(encode_event({"n": n}) for n in range(3))
    script = [
        encode_result(1, {"pid": 7}),
        encode_event("before")
        + msgspec.json.encode({"id": 2, "error": {"kind": "not_found", "message": "no"}})
        + b"\n",
        encode_result(3, None) + three,
    ]
    thread = serve(path, script)
    with Client(path) as client:
        assert client.call("status") == {"pid": 7}
        with pytest.raises(RpcError, match="no") as caught:
            client.call("peer", id="x")
        assert caught.value.kind == "not_found"
        client.subscribe()
        events = client.events()
        assert [next(events) for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
        with pytest.raises(UnreachableError):
            next(events)
    thread.join()


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n", b'{"id":1,"result":"\xff"}\n', b"[1]\n"])
def test_somebody_else_is_there(tmp_path: Path, words: bytes) -> None:
    thread = serve(tmp_path / "s", [words])
    with Client(tmp_path / "s") as client, pytest.raises(UnreachableError, match="is not branchline"):
        client.call("status")
    thread.join()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="nobody answers at"):
        Client(tmp_path / "none")
    (tmp_path / "stale").touch()
    with pytest.raises(UnreachableError):
        Client(tmp_path / "stale")


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with Client(tmp_path / "s", timeout=0.05) as client, pytest.raises(TimeoutError):
            client.call("status")
