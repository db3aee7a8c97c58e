"""Whatever is asked, there is an answer in time."""

import asyncio
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from vmhost.health import clock, round, service, tool
from vmhost.health.private import SecretError, read_secret
from vmhost.health.target import Http, Tcp


def test_tools_that_hang_or_talk_without_end() -> None:
    async def both() -> tuple[tool.Said, tool.Said, tool.Said]:
        return await asyncio.gather(
            tool.run("sh", "-c", "sleep 60 & sleep 60", within=0.3),
            tool.run("yes", within=30.0),
            tool.run("no-such-tool", within=1.0),
        )

    hung, endless, absent = asyncio.run(both())
    assert (hung.status, hung.complaint) == (None, f"no answer within {hung.seconds:.1f} s")
    assert (endless.status, len(endless.out)) == (None, tool.MOST_SAID)
    assert absent.complaint == "no-such-tool is not installed; install the package no-such-tool"


def test_a_round_that_cannot_be_made(tmp_path: Path) -> None:
    """No room for its files: that is a result, and ends nothing."""
    (found,) = asyncio.run(round.check(Tcp(address="127.0.0.1", port=1), scratch=tmp_path / "gone"))
    assert (found.name, found.ok) == ("round", False)
    assert f"{tmp_path}/gone: No such file or directory" in found.evidence


def test_a_tool_is_told_and_heard() -> None:
    said = asyncio.run(
        tool.run("sh", "-c", "cat; echo $MORE; echo no >&2; exit 3", within=9.0, env={"MORE": "x"}, typed="a")
    )
    assert (said.status, said.out, said.complaint) == (3, "ax\n", "no")


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        (0o600, "Secret 1\n", ""),
        (0o640, "Secret 1\n", "chmod 600"),
        (0o600, "\n", "one line"),
        (0o600, "a\nb\n", "one line"),
        (0o600, "a" * 2000, "one line"),
    ],
)
def test_secrets(tmp_path: Path, mode: int, text: str, said: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(mode)
    if not said:
        assert read_secret(file) == "Secret 1"
        return
    with pytest.raises(SecretError, match=said):
        read_secret(file)


def test_a_secret_is_a_file_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "secret"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(SecretError, match="is not a password"):  # and nobody waits for a writer
        read_secret(pipe)
    file.touch(mode=0o600)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    with pytest.raises(SecretError, match="belongs to another user"):
        read_secret(file)


def _answering(text: bytes | None) -> socket.socket:
    """A server that says so to its first client and nothing more; None: it takes no connection at all."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(text or b"")
            while connection.recv(4096):
                pass

    if text is not None:
        threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    ("text", "ok", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "status 200"),
        (b"HTTP/1.0 503 x\r\n\r\n", False, "status 503"),
        (b"x" * 9000, False, "not HTTP"),
        (None, False, "no answer within 0.3 s"),
    ],
)
def test_a_web_service(text: bytes | None, ok: bool, said: str) -> None:
    with _answering(text) as listener:
        found = asyncio.run(
            service.check(
                Http(address="127.0.0.1", port=listener.getsockname()[1], within=5.0 if text else 0.3)
            )
        )
    assert (found.name, found.ok) == ("http", ok)
    assert said in found.evidence


def test_a_port() -> None:
    with _answering(None) as listener:
        target = Tcp(address="127.0.0.1", port=listener.getsockname()[1])
        assert asyncio.run(service.check(target)).ok
    refused = asyncio.run(service.check(target))
    assert not refused.ok
    assert "refused" in refused.evidence.lower()


def test_a_clock_that_is_wrong_by_a_minute_and_a_half() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            asked, sender = server.recvfrom(512)
            now = int((time.time() + 90 + 2_208_988_800) * 2**32) % 2**64
            stamp = now.to_bytes(8, "big")
            server.sendto(b"\x24\x02" + bytes(22) + asked[40:48] + stamp + stamp, sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        found = asyncio.run(clock.by_ntp("127.0.0.1", 5.0, server.getsockname()[1]))
        thread.join()
        assert found == pytest.approx(90.0, abs=5.0)
        assert asyncio.run(clock.by_ntp("127.0.0.1", 0.1, server.getsockname()[1])) is None
