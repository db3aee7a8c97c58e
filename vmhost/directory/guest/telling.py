"""Tells the box how far this machine is, on a virtio-serial channel and on the console, until it is off.

What join.py has last said is repeated every second, so that a box hears it whenever it begins to listen. Done is said
from when the directory has answered; whether it still does, the box's checks ask.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

CHANNEL = Path("/dev/virtio-ports/org.branchline.status.0")
LAST = Path("/run/branchline/status.json")
JOINED = Path("/data/branchline/joined")
SEED = Path("/run/branchline/seed/seed.json")
REPEAT_S = 1.0
_ANSWER_S = 5.0
# LDAP (RFC 4511): a search of the root entry, base scope, (objectClass=*); its answer is a SearchResultEntry.
_ROOT_ENTRY = bytes.fromhex("3025020101632004000a01000a0100020100020100010100870b") + b"objectClass0\0"
_IS_ENTRY = b"\x02\x01\x01\x64"


def answers_ldap(host: str = "127.0.0.1", port: int = 389) -> bool:
    """Whether a directory gives its root entry."""
    try:
        with socket.create_connection((host, port), _ANSWER_S) as to:
            to.sendall(_ROOT_ENTRY)
            return _IS_ENTRY in to.recv(4096)[:16]
    except OSError:
        return False


def answers_dns(domain: str, host: str = "127.0.0.1", port: int = 53) -> bool:
    """Whether there are servers of the domain's directory (SRV, RFC 2782)."""
    labels = f"_ldap._tcp.{domain}".split(".")
    name = b"".join(bytes((len(label),)) + label.encode() for label in labels)
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">B2H", 0, 33, 1)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to:
            to.settimeout(_ANSWER_S)
            to.sendto(query, (host, port))
            answer = to.recv(4096)
    except OSError:
        return False
    if len(answer) < 8:
        return False
    _, flags, _, found = struct.unpack(">4H", answer[:8])
    return bool(flags & 0x800F == 0x8000 and found > 0)


def _said(step: str, text: str, *, done: bool = False, error: str | None = None) -> dict[str, Any]:
    return {"step": step, "text": text, "part": 1.0 if done else None, "done": done, "error": error}


def _state(first: bool) -> dict[str, Any]:
    """How far it is now; at its `first` start it is done when join.py says so."""
    last: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError):
        last = json.loads(LAST.read_text())
    if JOINED.exists():
        domain = str(json.loads(JOINED.read_text())["realm"]).lower()
        if not answers_ldap():
            return _said("start", "the directory starts")
        if not answers_dns(domain):
            return _said("start", "the directory answers LDAP; its DNS starts")
        if first and last is not None:
            return last
        return _said("ready", f"{socket.gethostname()}.{domain} answers LDAP and DNS", done=True)
    if last is not None:
        return last
    if SEED.exists():
        return _said("boot", "the machine boots")
    wrong = "the machine has not joined a domain, and there is no seed that says which"
    return _said("join", wrong, error=wrong)


def main() -> None:
    """Until the machine is off."""
    first, shown = not JOINED.exists(), ""
    state = _said("boot", "the machine boots")
    while True:
        if not state["done"]:
            state = _state(first)
        if state["text"] != shown:
            shown = state["text"]
            print(f"branchline: {state['error'] or shown}", flush=True)  # noqa: T201  (the console's)
        # A box that does not listen must not hold anything up.
        with contextlib.suppress(OSError):
            channel = os.open(CHANNEL, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(channel, json.dumps(state).encode() + b"\n")
            finally:
                os.close(channel)
        time.sleep(REPEAT_S)


if __name__ == "__main__":
    main()
