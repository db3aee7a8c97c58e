"""Running somebody's client program for a turn, and keeping one open over many turns."""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence

from appliance.lab.host import Host
from appliance.lab.soak.turn_error import TurnError

PATIENCE_S = 120.0


def run(host: Host, argv: Sequence[str], text: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
    """What a program says; TurnError when it fails or does not end in time."""
    try:
        done = host.run(argv, input=text, capture_output=True, timeout=PATIENCE_S, env=env)
    except subprocess.TimeoutExpired:
        raise TurnError(f"{' '.join(argv)} did not end within {PATIENCE_S:.0f} s") from None
    if done.returncode:
        raise TurnError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return bytes(done.stdout)


class Conversation:
    """A program that stays: a line in, a line out. After a fault, the next word starts another one."""

    def __init__(self, host: Host, argv: Sequence[str]) -> None:
        self._host = host
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None

    def say(self, line: bytes, answer: bytes) -> int:
        """Bytes of the answer; TurnError when it is another one, or none within two minutes."""
        process = self._process = self._process or self._host.popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            heard = _read(process.stdout.fileno(), len(answer) + 1)
        except BrokenPipeError:
            heard = b""
        if heard != answer + b"\n":
            self.close()
            raise TurnError(
                f"{self._argv[0]}, open for long, said {heard[:200]!r} for {answer[:200]!r}",
                wrong=bool(heard),
            )
        return len(heard)

    def close(self) -> None:
        """Ends the program, which then ends its connection."""
        if self._process is not None:
            process, self._process = self._process, None
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _read(descriptor: int, count: int) -> bytes:
    """So many bytes, or what has come of them when the time is over or there are no more."""
    heard = b""
    deadline = time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(heard) < count and selector.select(max(0.0, deadline - time.monotonic())):
            more = os.read(descriptor, count - len(heard))
            if not more:
                break
            heard += more
    return heard
