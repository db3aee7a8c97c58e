"""Work in a process of its own: what it imports for a moment would stay in the control plane's memory for good."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from vmhost.errors import VmError

_WITHIN_S = 120.0  # of a box that is short of everything; who asks may hold others up


def ask(module: str, *arguments: object) -> Any:
    """What the `answer` of a module says to plain arguments; bytes are to be base64. It blocks for 0.2 s; VmError."""
    command, typed = [sys.executable, "-P", "-m", module], msgspec.json.encode(arguments)
    try:
        done = subprocess.run(command, input=typed, capture_output=True, check=False, timeout=_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise VmError("failed", f"{module} has not answered within {_WITHIN_S:.0f} s") from None
    except OSError as error:
        raise VmError("failed", f"this box cannot run another process ({error.strerror})") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise VmError("failed", f"{module} has failed: {said[-1]}")
    return msgspec.json.decode(done.stdout)


def answer(work: Callable[..., object]) -> None:
    """In that process: read the arguments, write what `work` returns."""
    arguments = msgspec.json.decode(sys.stdin.buffer.read())
    sys.stdout.buffer.write(msgspec.json.encode(work(*arguments)))
