"""What a daemon tells its supervisor, and that it never suffers for it."""

import socket
from pathlib import Path

import pytest

from appliance.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_messages(tmp_path: Path, abstract: bool) -> None:
    name = f"{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("\0" + name if abstract else name)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "3000000"})
        assert notifier.ready()
        assert notifier.watchdog()
        assert notifier.status("all\nwell")
        assert notifier.stopping()
        said = [supervisor.recv(100) for _ in range(4)]
        assert said == [b"READY=1", b"WATCHDOG=1", b"STATUS=all well", b"STOPPING=1"]
        assert notifier.interval_s == 1.5


def test_nobody_to_tell() -> None:
    notifier = Notifier({})
    assert not notifier.ready()
    assert notifier.interval_s is None


def test_a_supervisor_that_is_gone_or_stuck(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    assert not notifier.ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(path))
        while notifier.watchdog():
            pass  # until its queue is full: must return, not block
    assert not notifier.ready()
