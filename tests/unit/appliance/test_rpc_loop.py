"""The data plane's local socket on its own loop."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from appliance.loop import Loop
from appliance.rpc import Client
from appliance.rpc_loop import RpcServer


def test_without_descriptors_it_waits_and_does_not_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.rpc_loop.SHORT_S", 0.1)
    loop = Loop()
    server = RpcServer(loop, tmp_path / "socket", {})
    client = Client(tmp_path / "socket")
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, usual[1]))
        loop.call_later(0.35, loop.stop)
        loop.run()
        assert loop.rounds < 20
        assert not server._connections
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        while not server._connections:
            loop.round()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        client.close()
        server.close()
        loop.close()
