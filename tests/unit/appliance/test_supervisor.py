"""The supervisor with real processes: what dies comes back, what hangs is killed, nothing outlives it."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.events import Event, decode

DEADLINE_S = 20.0

CHILD = """
import os, signal, sys
from appliance.notify import Notifier
mode, name = sys.argv[1:3]
say = lambda word: os.write(1, f"{name} {word}\\n".encode())
if mode == "impatient":  # told to reload before it can
    os.kill(os.getppid(), signal.SIGHUP)
    while not signal.sigpending():
        os.sched_yield()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
notifier, drains = Notifier(), False
if mode == "refuse":
    sys.exit(2)
if mode == "fail":
    sys.exit(1)
say("up")
if mode != "mute":
    notifier.ready()
while True:
    got = signal.sigtimedwait({signal.SIGTERM, signal.SIGHUP, signal.SIGINT}, notifier.interval_s / 2)
    if got and got.si_signo == signal.SIGHUP:
        say("reload")
    elif got and got.si_signo == signal.SIGTERM and mode == "drain":
        say("draining")
        drains = True
    elif got and mode != "stubborn":
        say("down")
        sys.exit(0)
    notifier.watchdog()
    if drains:
        notifier.extend()
"""

PARENT = """
import sys
from pathlib import Path
from appliance.supervisor import Program, Supervisor
run_dir, child, watchdog, *modes = sys.argv[1:]
programs = [
    Program(
        name,
        ("/none" if mode == "missing" else sys.executable, "-c", child, mode, name),
        float(watchdog),
        essential=name == "control",
        patient=name == "control",
        stop=1.0,
        beside=name == "data-2",
    )
    for name, mode in zip(("control", "data", "data-2"), modes)
]
sys.exit(Supervisor(programs, Path(run_dir)).run())
"""


class Supervised:
    """A supervisor in a process of its own, and the events that it tells control."""

    def __init__(self, run_dir: Path, *modes: str, watchdog: float = 1.0) -> None:
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(run_dir / "events.sock"))
        self.told.settimeout(DEADLINE_S)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(run_dir), CHILD, str(watchdog), *modes],
            stdout=subprocess.PIPE,
            text=True,
        )

    def event(self, kind: str, subject: str) -> Event:
        """The next event of that kind and subject."""
        while True:
            event = decode(self.told.recv(65536))
            if (event.kind, event.subject) == (kind, subject):
                return event

    def both_ready(self) -> tuple[int, int]:
        """Pids of control and data, once both are ready."""
        control = self.event("process.ready", "control").evidence["pid"]
        return control, self.event("process.ready", "data").evidence["pid"]

    def reads(self, *lines: str) -> list[str]:
        """What the children print until all of `lines` have come."""
        assert self.process.stdout is not None
        printed: list[str] = []
        while not set(lines) <= set(printed):
            line = self.process.stdout.readline()
            assert line, f"the supervisor ended after {printed}"
            printed.append(line.strip())
        return printed

    def end(self) -> tuple[int, list[str]]:
        """Exit status and what the children printed."""
        output, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, output.splitlines()

    def close(self) -> None:
        self.told.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def make(*modes: str, watchdog: float = 1.0) -> Supervised:
        made.append(Supervised(tmp_path, *modes, watchdog=watchdog))
        return made[-1]

    yield make
    for supervised in made:
        supervised.close()


Supervise = Callable[..., Supervised]


def gone(pidfd: int) -> bool:
    """Whether the process ends within the deadline."""
    return bool(select.select([pidfd], [], [], DEADLINE_S)[0])


def test_control_first_and_data_last_and_the_reverse(supervise: Supervise) -> None:
    supervised = supervise("run", "run")
    supervised.both_ready()
    supervised.process.terminate()
    status, printed = supervised.end()
    assert status == 0
    assert printed == ["control up", "data up", "data down", "control down"]


def test_what_stands_beside_another_begins_and_ends_with_it(supervise: Supervise) -> None:
    supervised = supervise("run", "mute", "drain")
    supervised.event("process.ready", "data-2")  # though the one before it never is
    supervised.reads("data up")
    supervised.process.terminate()
    assert "control down" not in supervised.reads("data down", "data-2 draining")
    supervised.process.terminate()
    status, last = supervised.end()
    assert (status, last) == (0, ["data-2 down", "control down"])


def test_data_waits_for_control(supervise: Supervise) -> None:
    supervised = supervise("mute", "run")
    supervised.reads("control up")
    supervised.process.send_signal(signal.SIGINT)
    status, printed = supervised.end()
    assert (status, printed) == (0, ["control down"])


def test_a_killed_child_comes_back_at_once(supervise: Supervise) -> None:
    supervised = supervise("run", "run")
    control, data = supervised.both_ready()
    os.kill(data, signal.SIGKILL)
    died = supervised.event("process.died", "data")
    assert died.evidence == {"pid": data, "status": -9, "killed_because": "", "restart_in_s": 0.0}
    again = supervised.event("process.ready", "data")
    assert again.evidence["pid"] != data
    os.kill(control, 0)  # untouched
    os.kill(again.evidence["pid"], signal.SIGKILL)
    assert supervised.event("process.died", "data").evidence["restart_in_s"] == 0.5


def test_a_stopped_child_is_killed_in_time(supervise: Supervise) -> None:
    supervised = supervise("run", "run", watchdog=1.0)
    _, data = supervised.both_ready()
    os.kill(data, signal.SIGSTOP)
    began = time.monotonic()
    killed = supervised.event("process.killed", "data")
    assert 0.4 < time.monotonic() - began < 4
    assert "no sign of life for 1 s" in killed.text
    assert supervised.event("process.died", "data").evidence["status"] == -9
    assert supervised.event("process.ready", "data").evidence["pid"] != data


def test_a_supervisor_that_was_stopped_itself_blames_nobody(supervise: Supervise) -> None:
    supervised = supervise("run", "run", watchdog=1.0)
    _, data = supervised.both_ready()
    pidfd = os.pidfd_open(data)
    os.kill(supervised.process.pid, signal.SIGSTOP)
    assert not select.select([pidfd], [], [], 1.5)[0]  # longer than the watchdog
    os.close(pidfd)
    supervised.process.terminate()
    os.kill(supervised.process.pid, signal.SIGCONT)
    assert supervised.event("process.stopped", "data").evidence["killed_because"] == ""
    assert supervised.end() == (0, ["control up", "data up", "data down", "control down"])


def test_children_die_with_their_supervisor(supervise: Supervise) -> None:
    supervised = supervise("run", "run")
    pidfds = [os.pidfd_open(pid) for pid in supervised.both_ready()]
    supervised.process.kill()
    for pidfd in pidfds:
        assert gone(pidfd)
        os.close(pidfd)


def test_a_child_that_will_not_stop(supervise: Supervise) -> None:
    supervised = supervise("run", "stubborn")
    supervised.both_ready()
    began = time.monotonic()
    supervised.process.terminate()
    assert "did not stop within 1 s" in supervised.event("process.killed", "data").text
    status, printed = supervised.end()
    assert 0.9 < time.monotonic() - began < 10
    assert (status, printed[-1]) == (0, "control down")


def test_a_second_signal_ends_a_drain(supervise: Supervise) -> None:
    supervised = supervise("run", "drain")
    supervised.both_ready()
    supervised.process.terminate()
    supervised.reads("data draining")
    with pytest.raises(subprocess.TimeoutExpired):
        supervised.process.wait(1.3)  # longer than a child may take that does not say that it goes on
    supervised.process.terminate()
    status, last = supervised.end()
    assert (status, last) == (0, ["data down", "control down"])


@pytest.mark.parametrize(("mode", "status"), [("refuse", 2), ("fail", 1)])
def test_a_control_that_cannot_start_ends_it_all(supervise: Supervise, mode: str, status: int) -> None:
    supervised = supervise(mode, "run")
    assert supervised.event("process.failed", "control").evidence["status"] == status
    assert supervised.end() == (status, [])


def test_a_data_plane_that_refuses_its_configuration(supervise: Supervise) -> None:
    supervised = supervise("run", "refuse")
    assert supervised.event("process.failed", "data").evidence["status"] == 2
    assert supervised.end() == (2, ["control up", "control down"])


def test_a_data_plane_that_cannot_start_yet_is_tried_again(supervise: Supervise) -> None:
    supervised = supervise("run", "fail")
    delays = [supervised.event("process.died", "data").evidence["restart_in_s"] for _ in range(3)]
    assert delays == [0, 0.5, 1]
    supervised.process.terminate()
    assert supervised.end() == (0, ["control up", "control down"])


def test_a_program_that_there_is_no_room_for_is_tried_again(supervise: Supervise) -> None:
    supervised = supervise("run", "missing")
    for delay in (0, 0.5):
        failed = supervised.event("process.failed", "data")
        assert "cannot be started" in failed.text
        assert failed.evidence["restart_in_s"] == delay
    supervised.process.terminate()
    assert supervised.end() == (0, ["control up", "control down"])


def test_a_reload_that_comes_too_early_waits(supervise: Supervise) -> None:
    supervised = supervise("impatient", "run")
    supervised.both_ready()
    supervised.process.terminate()
    status, printed = supervised.end()
    assert status == 0
    assert sorted(printed[:3]) == ["control reload", "control up", "data up"]


def test_reload_goes_to_control(supervise: Supervise) -> None:
    supervised = supervise("run", "run")
    supervised.both_ready()
    supervised.process.send_signal(signal.SIGHUP)
    assert supervised.reads("control reload") == ["control up", "data up", "control reload"]
    supervised.process.terminate()
    assert supervised.end()[0] == 0
