"""Records a session of this release for later ones: `python -m tests.unit.recorded.record`, once for each release."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from appliance.lanes.frames import VERSION, Kind
from appliance.lanes.lane import Lane
from appliance.version import version
from tests.unit.conftest import TwoBoxes
from tests.unit.recorded.recording import DIRECTORY, Recording, Sent, digest, turns, write
from tests.unit.test_peer import Ends

LEFT_OUT = (Kind.PING, Kind.PONG, Kind.SOUND, Kind.DEPTH, Kind.BYE, Kind.ACK)  # they belong to the moment


def record() -> Recording:
    """What two boxes of this tree say to each other while two flows come and go."""
    recording = Recording(version(), VERSION, digest())

    def tap(lane: Lane, sent: bool, kind: int, body: bytes) -> None:
        if sent and kind not in LEFT_OUT and lane.role is not None:
            name = "branch" if lane.dialler else "dc"
            recording.sent.append(Sent(name, int(lane.role), bytes((kind,)) + body))

    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        Lane.tap = tap
        boxes = TwoBoxes(Path(directory))
        try:
            boxes.up()
            for turn in turns():
                ends = Ends(boxes, listener)
                server = ends.accept()
                assert ends.move(ends.client, server, turn.up, end=True) == turn.up
                assert ends.move(server, ends.client, turn.down, end=True) == turn.down
                boxes.until(lambda: not any(peer.flows for peer in boxes.peers.values()))
                ends.close()
        finally:
            Lane.tap = None
            boxes.close()
    return recording


if __name__ == "__main__":
    made = record()
    write(made, DIRECTORY / f"release-{made.release}.jsonl")
