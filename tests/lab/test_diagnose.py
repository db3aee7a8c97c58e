"""`branchline diagnose` on real boxes: what support gets, and what it never does."""

from __future__ import annotations

import base64
import json
import random
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from appliance.lab import Lab
from appliance.lab.pair import Box, Pair

MARK = b"payload that must stay in the box " + random.Random(2).randbytes(24).hex().encode()
PORT = 5005


def diagnose(box: Box, path: Path) -> dict[str, Any]:
    done = box.host.python(
        "appliance.cli",
        "diagnose",
        *(
            "-o",
            str(path),
            "--socket",
            str(box.run_dir / "control.sock"),
            "--config",
            str(box.config),
            "--json",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    return {part["name"]: part["missing"] for part in answer["parts"]}


def content(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name.split("/", 1)[1]: file.read() for name, file in files.items() if file is not None}


def carry(lab: Lab, pair: Pair) -> None:
    """Bytes that both chunk caches keep, over a flow that stays open."""
    listener, client = lab.server.socket(), lab.client.socket()
    listener.bind((lab.server.v4, PORT))
    listener.listen()
    client.settimeout(20)
    client.connect((lab.server.v4, PORT))
    server, _ = listener.accept()
    data = MARK * 2000
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        got += server.recv(1 << 16)
    assert got == data
    pair.branch.wait(lambda: len(pair.branch.call("flows")) == 1, "the flow is listed")
    client.close()
    server.close()
    listener.close()


def secrets(box: Box) -> list[bytes]:
    pem = (box.directory / "box.key").read_bytes()
    private = pem[: pem.index(b"-----BEGIN CERTIFICATE")].splitlines()[1:-1]
    return [
        *private,
        base64.b64decode(b"".join(private)),
        str(box.directory / "box.key").encode(),
        MARK,
        MARK.hex().encode(),
    ]


@pytest.mark.parametrize("state", ["alive", "data dead", "dead"])
def test_a_bundle_tells_all_but_secrets(lab: Lab, new_pair: Any, tmp_path: Path, state: str) -> None:
    pair: Pair = new_pair(lab)
    carry(lab, pair)
    box = pair.branch
    if state == "data dead":
        box.signal("data", signal.SIGSTOP)
    elif state == "dead":
        box.stop()
    path = tmp_path / "bundle.tar.gz"
    try:
        missing = diagnose(box, path)
    finally:
        if state == "data dead":
            box.signal("data", signal.SIGKILL)
    files = content(path)
    everything = b"".join(files.values())
    for secret in secrets(box):
        assert secret not in everything
    assert box.id.encode() in files["config-file.json"]
    assert b"peer.up" in files["events.json"], "from its log when nobody answers"
    assert b'"peer": "dc"' in files["cache.json"]
    assert b"net.ipv4.ip_forward = " in files["sysctls.txt"]
    assert b"lan0" in files["addresses.txt"]
    processes = files["processes.txt"]
    if state == "dead":
        assert "control.sock" in missing["status.json"]
        assert "flows.json" not in files
        assert b"data does not run" in processes
    else:
        assert json.loads(files["status.json"])["data"]["up"] is (state == "alive")
        assert b"branchline_fate" in files["nft-ruleset.txt"]
        assert b"==== data, process" in processes
