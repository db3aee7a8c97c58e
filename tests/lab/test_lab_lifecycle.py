"""Nothing of a lab stays: not after a failure, Ctrl-C, SIGTERM, nor (from the next start on) after a kill -9."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.lab import Lab, LabError, leftovers, namespace
from appliance.lab.host import PACKAGE_ROOT, python_environment
from appliance.lab.probing import probe

# Prints the names of its namespaces and the pid of a grandchild, then waits to be ended.
HOLDING_A_LAB = """
import signal, sys, threading
from appliance.lab import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)
with Lab(rtt=0.01, prefix=sys.argv[1]) as lab:
    child = lab.branch.popen(["sh", "-c", "sleep 600 & echo $!; exec sleep 600"], stdout=-1, text=True)
    print(*(host.netns_name for host in lab.hosts.values()), child.stdout.readline().strip(), flush=True)
    threading.Event().wait(60)
"""


@pytest.fixture
def prefix() -> str:
    """Its own, so that no lab of someone else's starting now removes these leftovers first."""
    return f"branchline-test-{os.getpid()}"


@contextlib.contextmanager
def holder(prefix: str) -> Iterator[tuple[subprocess.Popen[str], list[str], int]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDING_A_LAB, prefix],
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        *names, grandchild = child.stdout.readline().split()
        assert len(names) == 5
        yield child, names, int(grandchild)
    finally:
        child.terminate()
        child.communicate(timeout=20)


def alive(names: list[str]) -> list[str]:
    return [name for name in names if namespace.path_of(name).exists()]


def test_leaves_nothing_after_a_failure_inside() -> None:
    names: list[str] = []
    with pytest.raises(ZeroDivisionError), Lab(rtt=0.01) as lab:
        names = [host.netns_name for host in lab.hosts.values()]
        assert alive(names) == names
        child = lab.server.popen(["sleep", "600"])
        raise ZeroDivisionError
    assert not alive(names)
    assert child.returncode == -signal.SIGKILL


def test_leaves_nothing_after_a_failure_while_building(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(congestion=("no-such-algorithm",))
    with pytest.raises(LabError, match="no-such-algorithm"):
        lab.open()
    assert not alive([host.netns_name for host in lab.hosts.values()])
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("appliance.lab.tools.SEARCH", "/nowhere")
    with pytest.raises(LabError, match="apt-get install iproute2"):
        Lab().open()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaves_nothing_after_a_signal(prefix: str, number: signal.Signals) -> None:
    with holder(prefix) as (child, names, grandchild):
        child.send_signal(number)
        child.wait(20)
        assert not alive(names)
        assert leftovers.start_time(grandchild) is None


def test_leftovers_of_a_killed_run_are_taken_back_by_the_next(prefix: str) -> None:
    with holder(prefix) as (child, names, grandchild):
        assert not leftovers.stale(prefix)  # they are in use
        child.kill()
        child.wait()
        assert leftovers.stale(prefix) == sorted(names)
        assert leftovers.start_time(grandchild) is not None
        with Lab(prefix=prefix) as lab:
            assert not alive(names)
            assert leftovers.start_time(grandchild) is None
            assert len(probe(lab.client, lab.server, 3).rtts) == 3


def test_two_labs_do_not_meet() -> None:
    with Lab() as one, Lab(rtt=0.02) as two:
        assert one.client.netns != two.client.netns
        assert one.client.v4 == two.client.v4
        with one.server.socket() as first, two.server.socket() as second:
            first.bind((one.server.v4, 8080))
            second.bind((two.server.v4, 8080))
        before = two.wan.bytes().both
        probe(one.client, one.server, 50, payload=1000)
        assert two.wan.bytes().both - before < 5000
        assert min(probe(two.client, two.server, 5).rtts.values()) >= 0.0199


def test_labs_of_several_processes_at_once(prefix: str) -> None:
    with holder(prefix) as (_, first, _), holder(prefix) as (_, second, _), Lab(prefix=prefix) as lab:
        assert not set(first) & set(second)
        assert alive(first + second) == first + second
        assert len(probe(lab.client, lab.server, 3, family=socket.AF_INET6).rtts) == 3


# setpriv still has root's capabilities when it executes its command; only what that executes is nobody's.
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", 'exec "$@"', "sh"]


def nobodys_python() -> str:
    """An interpreter that user nobody can run with the lab's code (which needs the standard library only)."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [*NOBODY, candidate, "-c", "import sys, appliance; assert sys.version_info >= (3, 11)"]
        if subprocess.run(check, capture_output=True, cwd="/", env=python_environment({})).returncode == 0:
            return candidate
    pytest.skip(f"user nobody can run no Python 3.11 here, or not read {PACKAGE_ROOT}")


def as_nobody(script: str) -> "subprocess.Popen[str]":
    python = nobodys_python()
    argv = [*NOBODY, python, "-m", "appliance.lab.rootless", "--", python, "-c", script, "rootless"]
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=python_environment({})
    )


@pytest.mark.real_root
def test_runs_as_nobody_in_a_user_namespace() -> None:
    script = """
import os, socket
from appliance.lab import Lab
from appliance.lab.probing import probe
with Lab(rate=1e6, rtt=0.02, loss=0.01) as lab:
    lab.wan.set(loss=0.0)
    for family in (socket.AF_INET, socket.AF_INET6):
        rtts = probe(lab.client, lab.server, 10, interval=0.005, family=family).rtts
        assert len(rtts) == 10 and min(rtts.values()) >= 0.0199, rtts
    lab.wan.cut()
    assert not probe(lab.client, lab.server, 3, patience=0.2).order
    print("done", lab.wan.bytes().towards_dc, open("/proc/self/uid_map").read().split())
raise SystemExit(7)
"""
    child = as_nobody(script)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 7, errors
    assert output.startswith("done")
    assert "65534" in output


@pytest.mark.real_root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_rootless_lab_ends_with_a_signal_to_its_first_process(number: signal.Signals) -> None:
    child = as_nobody(HOLDING_A_LAB)
    assert child.stdout is not None
    assert len(child.stdout.readline().split()) == 6
    inside = descendants(child.pid)
    assert len(inside) >= 4  # pid 1, the script, and what it started
    child.send_signal(number)
    child.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while left := [pid for pid in inside if leftovers.start_time(pid) is not None]:
        assert time.monotonic() < deadline, left
        os.sched_yield()


def descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]
