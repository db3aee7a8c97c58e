"""`branchline estimate` beside real flows through a router that has no Branchline."""

from __future__ import annotations

import json
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from appliance import identity
from appliance.lab import Lab

CONTENT = random.Random(9).randbytes(3_000_000)
ASK = b"GET /file HTTP/1.1\r\nHost: server\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT
DEADLINE_S = 20.0


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return identity.create(tmp_path / "server.key").path


@pytest.fixture
def servers(module_lab: Lab, key: Path) -> Iterator[None]:
    """The same file over HTTP and over HTTPS, for one connection after the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)

    def serve(listener: socket.socket, tls: bool) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(plain, server_side=True) if tls else plain as sock:
                if sock.recv(len(ASK)):
                    sock.sendall(ANSWER)

    with ExitStack() as stack:
        for port in (80, 443):
            listener = module_lab.server.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((module_lab.server.v4, port))
            listener.listen()
            thread = threading.Thread(target=serve, args=(listener, port == 443))
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.close)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield


def download(lab: Lab, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = lab.client.socket()
    plain.settimeout(DEADLINE_S)
    plain.connect((lab.server.v4, port))
    with context.wrap_socket(plain) if port == 443 else plain as sock:
        sock.sendall(ASK)
        got = 0
        while piece := sock.recv(1 << 16):
            got += len(piece)
    assert got == len(ANSWER)


def looks_on(lab: Lab) -> bool:
    """Whether a packet socket is bound in the branch's router, to all protocols."""
    rows = [row.split() for row in lab.branch.read("/proc/thread-self/net/packet").splitlines()[1:]]
    return any(row[3] == "0003" and row[5] == "1" for row in rows)


def estimate(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = lab.branch.python(
        "appliance.cli",
        "estimate",
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + DEADLINE_S
    while not looks_on(lab):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_real_flows_are_estimated(module_lab: Lab, servers: None) -> None:
    process = estimate(module_lab, "lan0", "--seconds", "10min", "--json")
    for port in (80, 80, 443):
        download(module_lab, port)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    lines = {line["application"]: line for line in answer["lines"]}
    assert (answer["cost"]["dropped"], answer["cost"]["one_flow_in"]) == (0, 1)
    assert (lines["http"]["flows"], lines["https"]["flows"]) == (2, 1)
    assert lines["http"]["reduction"] == pytest.approx(0.5, abs=0.05), "the second time is free"
    assert lines["https"]["encrypted"] is True
    assert lines["https"]["share"] == pytest.approx(1 / 3, abs=0.05)
    assert answer["bytes"] == pytest.approx(3 * len(CONTENT), rel=0.1)
    assert answer["reduction"] == pytest.approx(1 / 3, abs=0.05)
    assert "could be optimised" in answer["sentence"]


def test_it_ends_by_itself_and_people_can_read_it(module_lab: Lab, servers: None) -> None:
    process = estimate(module_lab, "lan0", "--seconds", "3", "--site", "10.2.0.0/16")
    download(module_lab, 80)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert "http" in out
    assert "could be optimised" in out
    assert "Looking on cost" in out


def test_an_interface_that_is_not_there(module_lab: Lab) -> None:
    done = module_lab.branch.python("appliance.cli", "estimate", "eth7", stderr=subprocess.PIPE, text=True)
    _, err = done.communicate(timeout=DEADLINE_S)
    assert done.returncode == 2
    assert 'no interface "eth7"; there are lo, ' in err
