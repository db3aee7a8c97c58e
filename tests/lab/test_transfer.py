"""`branchline lab transfer`, as a user runs it: two real Branchlines, real figures, nothing left behind."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.lab import leftovers, namespace
from appliance.lab.host import python_environment

KEYS = {"file", "bytes", "wan_bytes", "seconds", "ok", "cpu_branch_s", "cpu_dc_s"}
QUICK = ["--rate", "unlimited", "--rtt", "0"]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "appliance.cli", "lab", "transfer", *map(str, args)]


def transfer(*args: str | Path) -> list[dict[str, Any]]:
    """The objects that it prints; it must end well."""
    done = subprocess.run(
        command("--json", *args), capture_output=True, text=True, env=python_environment(), timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(one) == KEYS for one in found)
    return found


@pytest.fixture
def incompressible(tmp_path: Path) -> Path:
    path = tmp_path / "incompressible"
    path.write_bytes(random.Random(1).randbytes(4_000_000))
    return path


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A temporary directory of the test's own, with a name short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="bl-", dir="/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize("protocol", ["http", "raw"])
def test_repeats_do_not_cross_and_every_byte_arrives(
    tmp_path: Path, incompressible: Path, protocol: str
) -> None:
    empty, one = tmp_path / "empty", tmp_path / "one"
    empty.write_bytes(b"")
    one.write_bytes(b"1")
    files = [incompressible, incompressible, empty, one]
    cold, warm, none, single = transfer(*QUICK, "--protocol", protocol, *files)
    assert [cold["bytes"], none["bytes"], single["bytes"]] == [4_000_000, 0, 1]
    assert all(each["ok"] for each in (cold, warm, none, single))
    assert cold["wan_bytes"] <= 1.02 * 4_000_000
    assert warm["wan_bytes"] <= 0.01 * 4_000_000
    assert warm["file"] == str(incompressible)
    assert 0 < cold["cpu_branch_s"] < 60
    assert 0 < cold["cpu_dc_s"] < 60


def test_without_branchline_everything_crosses_each_time(incompressible: Path) -> None:
    first, again = transfer(*QUICK, "--no-optimise", incompressible, incompressible)
    for each in (first, again):
        assert each["ok"]
        assert each["wan_bytes"] >= 4_000_000
        assert each["cpu_branch_s"] == each["cpu_dc_s"] == 0


def test_the_link_is_what_was_asked_for(incompressible: Path) -> None:
    (only,) = transfer("--rate", "40mbit", "--rtt", "60ms", "--loss", "0.5%", incompressible)
    assert only["ok"]
    assert only["seconds"] >= 0.9 * 4_000_000 / 5_000_000
    assert only["wan_bytes"] >= 4_000_000


def test_table_for_people(incompressible: Path) -> None:
    done = subprocess.run(
        command(*QUICK, "--no-optimise", incompressible),
        capture_output=True,
        text=True,
        env=python_environment(),
        timeout=100,
    )
    assert done.returncode == 0
    title, row = done.stdout.splitlines()
    for word in ("file", "WAN bytes", "reduction", "seconds", "MB/s", "CPU s branch", "CPU s dc"):
        assert word in title
    assert "4,000,000" in row
    assert row.endswith("ok")
    assert "moving" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rate", "quick"], "--rate"),
        (["--rtt", "-5"], "--rtt"),
        (["--loss", "200%"], "--loss"),
        (["--protocol", "ftp"], "--protocol"),
        (["/nowhere/nothing"], "/nowhere/nothing"),
        (["/dev/zero"], "/dev/zero"),
        (["--rate", "0"], "rate"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_happens(
    incompressible: Path, arguments: list[str], complaint: str
) -> None:
    done = subprocess.run(
        command("--json", incompressible, *arguments),
        capture_output=True,
        text=True,
        env=python_environment(),
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not done.stdout
    assert "building" not in done.stderr


@contextlib.contextmanager
def running(incompressible: Path, scratch: Path) -> Iterator["subprocess.Popen[str]"]:
    """A slow transfer, under way."""
    child = subprocess.Popen(
        command("--json", "--rate", "100kbit", incompressible),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=python_environment() | {"TMPDIR": str(scratch)},
    )
    try:
        assert child.stderr is not None
        said = ""
        while "moving" not in said:
            line = child.stderr.readline()
            assert line, f"it ended early: {said}"
            said += line
        yield child
    finally:
        child.kill()
        child.communicate()


def namespaces_of(pid: int) -> list[str]:
    found = ((name, leftovers.parse(name)) for name in os.listdir(namespace.DIRECTORY))
    return [name for name, parsed in found if parsed and parsed[0].pid == pid]


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_takes_everything_down(incompressible: Path, scratch: Path, number: signal.Signals) -> None:
    with running(incompressible, scratch) as child:
        assert len(list(scratch.iterdir())) == 1
        names = namespaces_of(child.pid)
        assert len(names) == 5
        inside = list(namespace.processes(namespace.path_of(name) for name in names))
        assert len(inside) >= 6  # supervisor, control and data of each box
        child.send_signal(number)
        output, _ = child.communicate(timeout=30)
        assert child.returncode == 128 + number
        assert not output
        assert not namespaces_of(child.pid)
        assert [pid for pid in inside if leftovers.start_time(pid) is not None] == []
        assert list(scratch.iterdir()) == []
