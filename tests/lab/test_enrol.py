"""A branch becomes a peer in one step, and is cut off in one, while flows of others go on."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.config.written import toml
from appliance.lab import Lab
from appliance.lab.pair import EAGER, LANE_PORT, Box
from appliance.lab.workspace import Workspace
from tests.lab.plain_pair import ECHO_PORT, Echo, echoes, until


@pytest.fixture
def centre(lab: Lab) -> Iterator[Box]:
    """A data centre's box that runs and has no peer."""
    workspace = Workspace()
    box = Box(lab.dc, "dc", workspace.path / "dc")
    section = {
        "id": "dc",
        "lan": ["lan0"],
        "wan": ["wan0"],
        "prefixes": ["10.2.0.0/16"],
        "key": "box.key",
        "listen": [f"10.9.2.1:{LANE_PORT}"],
        "state_dir": str(box.directory / "state"),
        "run_dir": str(box.run_dir),
    }
    box.config.write_text(toml({"box": section, "rules": EAGER}))
    box.start()
    try:
        box.wait(lambda: (box.run_dir / "data.sock").exists() and answers(box), "it runs")
        yield box
    finally:
        box.stop()
        workspace.close()


def answers(box: Box) -> bool:
    return box.peer_state() == "unreachable" and (box.run_dir / "control.sock").exists()


def say(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    """`branchline …` in the box's namespace."""
    command = [sys.executable, "-m", "appliance.cli", *words]
    return box.host.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])


def said(box: Box, *words: str) -> Any:
    done = say(box, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def branch(lab: Lab, centre: Box) -> Iterator[Box]:
    """A branch's box of which nothing is there but its directories."""
    box = Box(lab.branch, "branch-1", centre.directory.parent / "branch")
    (box.directory / "box.key").unlink()
    yield box
    box.stop()


def join(branch: Box, token: str) -> subprocess.CompletedProcess[str]:
    words = ("enrol", "join", token, "--config", str(branch.config), "--lan", "lan0", "--wan", "wan0")
    return say(branch, *words)


def start(branch: Box) -> None:
    """With directories of its own, as only a lab needs."""
    text = branch.config.read_text()
    own = f'state_dir = "{branch.directory}/state"\nrun_dir = "{branch.run_dir}"\n'
    rule = '[[rules]]\nname = "lab"\nports = ["1-65535"]\neager = true\n'
    branch.config.write_text(f"{text}{own}\n{rule}")
    branch.start()
    branch.wait(lambda: branch.peer_state() == "up", "its peer is up")


def test_a_branch_is_enrolled_works_and_is_cut_off(lab: Lab, centre: Box, branch: Box, echo: Echo) -> None:
    of_centre = ("--socket", str(centre.run_dir / "control.sock"))
    token = said(centre, "enrol", "invite", "branch-1", "--prefix", "10.1.0.0/16", *of_centre)["token"]

    damaged = join(branch, token[:-3] + "AAA")
    assert (damaged.returncode, "damaged" in damaged.stderr) == (2, True)
    assert not branch.config.exists()

    joined = join(branch, token)
    assert joined.returncode == 0, joined.stderr
    start(branch)
    centre.wait(lambda: centre.peer_state() == "up", "its peer is up")

    client = optimised(lab, branch)
    again = join(branch, token)
    assert again.returncode == 0, "the same box may ask again"
    stolen = said_by_a_thief(lab, centre, token)
    assert "used already" in stolen.stderr
    assert echoes(client), "none of this touches a flow"

    answer = said(centre, "enrol", "revoke", "branch-1", "--yes", *of_centre)
    assert answer["data"] == "told"
    assert until(lambda: is_reset(client), 20), "its flows are reset"
    branch.wait(lambda: branch.peer_state() == "down", "the branch is alone")
    assert centre.call("peers") == []
    centre.signal("data", signal.SIGKILL)
    centre.wait(lambda: any(event["kind"] == "data.up" for event in centre.events()), "it is back")
    assert until(lambda: any(event["kind"] == "lane.refused" for event in centre.events()), 20)
    branch.wait(lambda: branch.peer_state() == "down", "the branch stays alone")
    client.close()


def optimised(lab: Lab, branch: Box) -> socket.socket:
    """A client's connection that the branch has taken; a box that has just come up lets the first ones pass."""
    clients: list[socket.socket] = []

    def taken() -> bool:
        for passed in clients:
            passed.close()
        clients[:] = [lab.client.socket()]
        clients[0].settimeout(10)
        clients[0].connect(("10.2.0.2", ECHO_PORT))
        return echoes(clients[0]) and branch.flows_intercepted() > 0

    assert until(taken, 10)
    return clients[0]


def said_by_a_thief(lab: Lab, centre: Box, token: str) -> subprocess.CompletedProcess[str]:
    """Another box that has the same token."""
    thief = Box(lab.branch, "thief", centre.directory.parent / "thief")
    return join(thief, token)


def is_reset(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(100) == b"?"
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
