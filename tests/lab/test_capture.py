"""`branchline capture` of a real flow, read back with scapy, on the client's box and on the server's."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.utils import RawPcapNgReader

from appliance.capture.pcapng import EXPORTED_PDU, RAW_IP
from appliance.lab import Lab
from appliance.lab.pair import Box, Pair

PORT = 5007
SAID, ANSWERED = b"what the client says", b"what the server answers"


@pytest.fixture
def ends(module_lab: Lab, module_pair: Pair) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a flow that both boxes carry."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(module_lab.server.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((module_lab.server.v4, PORT))
        listener.listen()
        client = stack.enter_context(module_lab.client.socket())
        client.settimeout(20)
        client.connect((module_lab.server.v4, PORT))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(20)
        for box in module_pair.boxes:
            box.wait(lambda box=box: listed(box, client), "the flow is listed")  # type: ignore[misc]
        yield client, server


def listed(box: Box, client: socket.socket) -> bool:
    return any(flow["client"] == list(client.getsockname()) for flow in box.call("flows"))


def start(box: Box, *arguments: str) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = box.host.python(
        "appliance.cli",
        "capture",
        *("--socket", str(box.run_dir / "control.sock"), "--json", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


@pytest.mark.parametrize("name", ["branch", "dc"])
def test_a_flow_is_recorded_on_both_sides_of_the_box(
    module_pair: Pair, ends: tuple[socket.socket, socket.socket], name: str, tmp_path: Path
) -> None:
    client, server = ends
    box: Box = getattr(module_pair, name)
    path = tmp_path / "flow.pcapng"
    host, port = client.getsockname()
    process = start(box, f"{host}:{port}", "-o", str(path))
    assert process.stderr is not None
    assert process.stderr.readline().startswith("recording ")
    client.sendall(SAID)
    assert server.recv(100) == SAID
    server.sendall(ANSWERED)
    assert client.recv(100) == ANSWERED
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    answer = json.loads(out)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == answer["bytes"]
    packets, frames = [], []
    for data, about in ((record[0], record[1]) for record in RawPcapNgReader(str(path))):
        if about.linktype == RAW_IP:
            packets.append(IP(data))
        else:
            assert about.linktype == EXPORTED_PDU
            frames.append((about.direction, about.comments[0]))
    payload = {bytes(packet[TCP].payload) for packet in packets if len(packet[TCP].payload)}
    assert payload == {SAID, ANSWERED}
    assert {packet[TCP].sport for packet in packets} == {port, PORT}
    assert any(event["kind"] == "capture.started" for event in box.events())
    ours, theirs = (2, 1) if name == "branch" else (1, 2)  # outbound and inbound, as pcapng numbers them
    stream = frames[0][1].split()[2]
    assert (ours, b"DATA stream %s offset 0, %d bytes of raw" % (stream, len(SAID) + 1)) in frames
    assert (theirs, b"DATA stream %s offset 0, %d bytes of raw" % (stream, len(ANSWERED) + 1)) in frames
    assert (answer["packets"], answer["frames"], answer["lost"]) == (len(packets), len(frames), 0)


def test_it_ends_by_itself_and_keeps_to_its_size(
    module_pair: Pair, ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    client, server = ends
    path = tmp_path / "flow.pcapng"
    process = start(module_pair.branch, f":{client.getsockname()[1]}", "-o", str(path), "--size", "20KiB")
    assert process.stderr is not None
    process.stderr.readline()
    data = bytes(100) * 500
    client.sendall(data)
    got = 0
    while got < len(data):
        got += len(server.recv(1 << 16))
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert path.stat().st_size < (20 << 10) + (256 << 10), "the record that reached it is still whole"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((":9",), "no such flow is open"), (("--reason", "bypass"), "no such flow is open")],
)
def test_a_flow_that_is_not_there(
    module_pair: Pair, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    path = tmp_path / "flow.pcapng"
    process = start(module_pair.branch, *arguments, "-o", str(path))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert words in err
    assert not path.exists()
