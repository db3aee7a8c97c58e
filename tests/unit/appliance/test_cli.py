"""The command line against a real control plane: what it prints, where, and with which exit status."""

import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import main
from appliance.config import load
from appliance.events import Event
from tests.unit.appliance.control_box import ControlBox, control_box

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def box() -> Iterator[ControlBox]:
    with control_box() as running:
        yield running


class Said:
    """What a command did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Say = Callable[..., Said]


@pytest.fixture
def say(box: ControlBox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """`branchline …` for that box."""
    monkeypatch.setenv("BRANCHLINE_SOCKET", str(box.socket))
    monkeypatch.setenv("COLUMNS", "40")

    def command(*words: str) -> Said:
        capsys.readouterr()
        status = main(words)
        out, err = capsys.readouterr()
        return Said(status, out, err)

    return command


@pytest.fixture
def data(box: ControlBox) -> Iterator[None]:
    box.data.trust = None
    box.start_data()
    yield
    box.do(box.data.stop())


def test_help_is_there_at_once_and_names_every_command(say: Say) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "appliance.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for heavy in ("rich.console", "cryptography", "asyncio", "appliance.lab", "dedupe"):
        assert f" {heavy}\n" not in done.stderr, "imported before it is needed"
    for name in ("run", "status", "flows", "peers", "events", "bypass", "reload", "config", "key", "lab"):
        assert f"  {name} " in done.stdout
        assert say(name, "--help").status == 0
    assert say("--version").out.startswith("branchline ")


def test_status(say: Say, data: None) -> None:
    said = say("status")
    assert (said.status, said.err) == (0, "")
    for words in (
        "branch-1",
        "data plane  up",
        "1 optimised, 1 passed",
        "reduction 90.0%",
        "dc",
        "fd02::/48",
        "20 ms",
    ):
        assert words in said.out
    assert "3 closed" in said.out
    (tree,) = say("status", "--json").json
    assert tree["peers"][0]["state"] == "up"


def test_status_when_the_data_plane_is_down(say: Say) -> None:
    said = say("status")
    assert said.status == 0
    assert "down" in said.out
    assert "the data plane is not running; new flows pass through" in said.out


def test_peers(say: Say, data: None) -> None:
    said = say("peers", "dc")
    for words in (
        "dc  up",
        "private underlay, on failure open",
        "20 Mbit/s",
        "down: 3 probes were not answered",
        "metered standby",
        "bulk",
        "10.9.0.2:4001",
        "600 B in, 400 B out",
    ):
        assert words in said.out
    assert [peer["id"] for peer in say("peers", "--json").json] == ["dc"]
    unknown = say("peers", "hq")
    assert (unknown.status, unknown.out) == (2, "")
    assert 'no peer "hq"; the peers are: dc' in unknown.err


def test_flows(say: Say, data: None) -> None:
    said = say("flows")
    for words in (
        "10.1.0.2:50000",
        "[fd02::2]:80",
        "rule_pass: a rule of the configuration says pass",
        "1.5 s",
        "http",
        "sip?",
        "90.0%",
        "80 ms",
        "bulk",
    ):
        assert words in said.out
    assert [flow["kind"] for flow in say("flows", "--json").json] == ["optimised", "passed"]
    assert [flow["kind"] for flow in say("flows", "--json", "--kind", "passed").json] == ["passed"]
    assert len(say("flows", "--json", "--limit", "1").json) == 1
    assert say("flows", "--limit", "-1").status == 2
    assert [flow["kind"] for flow in say("flows", "--json", "--sort", "lan").json] == ["optimised", "passed"]
    assert [flow["kind"] for flow in say("flows", "--json", "--sort", "age").json] == ["passed", "optimised"]


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        (("10.1.0.2",), ["optimised", "passed"]),
        (("10.2.0.0/16",), ["passed"]),
        ((":80",), ["optimised"]),
        (("[fd02::2]:80",), ["optimised"]),
        (("[fd02::2]:81",), []),
        (("10.2.0.9:5060",), ["passed"]),
        (("--application", "http"), ["optimised"]),
        (("--reason", "rule_pass"), ["passed"]),
        (("--peer", "dc", ":5060"), ["passed"]),
        (("--peer", "hq"), []),
    ],
)
def test_flows_that_were_asked_for(
    say: Say, data: None, arguments: tuple[str, ...], kinds: list[str]
) -> None:
    assert [flow["kind"] for flow in say("flows", "--json", *arguments).json] == kinds


def test_flows_of_no_address(say: Say) -> None:
    said = say("flows", "the-server")
    assert said.status == 2
    assert "write it like 10.2.0.9" in said.err


def test_bypass(say: Say) -> None:
    assert say("bypass", "on", "dc").out == "bypassed now: peers dc\n"
    assert "bypassed    peers dc" in say("status").out
    assert say("bypass", "on", "--rule", "web", "--json").json[0]["bypass"]["rules"] == ["web"]
    assert say("bypass", "on").out == "bypassed now: everything\n"
    assert say("bypass", "off").out == "bypassed now: nothing\n"
    for wrong in (("on", "hq"), ("maybe",), ("on", "dc", "--rule", "web"), ()):
        said = say("bypass", *wrong)
        assert (said.status, said.out) == (2, "")
        assert said.err


def test_events(say: Say, box: ControlBox, data: None) -> None:
    assert "control.started branch-1: the control plane is up" in say("events").out
    assert say("events", "--json").json[0]["kind"] == "control.started"
    assert say("events", "--since", "0s").out == ""
    assert all(event["severity"] == "error" for event in say("events", "--json", "--severity", "error").json)
    assert say("events", "--since", "yesterday").status == 2


def test_events_as_they_happen(say: Say, box: ControlBox, data: None) -> None:
    follower = subprocess.Popen(
        [sys.executable, "-m", "appliance.cli", "events", "--follow", "--json", "--limit", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    watchdog = threading.Timer(20, follower.kill)
    watchdog.start()
    try:
        assert json.loads(follower.stdout.readline())["kind"]
        box.publish(Event(time=9e9, kind="peer.down", text="gone"))
        assert json.loads(follower.stdout.readline())["kind"] == "peer.down"
        follower.send_signal(signal.SIGINT)
        assert follower.communicate() == ("", "\n"), "Ctrl-C is no error to be told about"
        assert follower.returncode == 130
    finally:
        watchdog.cancel()
        follower.kill()
        follower.communicate()


def test_nobody_reads(say: Say) -> None:
    for command in (("events",), ("status",), ("config", "show", "--json")):
        asker = subprocess.Popen(
            [sys.executable, "-m", "appliance.cli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert asker.stdout is not None
        asker.stdout.close()
        assert asker.stderr is not None
        with asker.stderr:
            assert asker.stderr.read() == b""
        assert asker.wait(20) == 141, command


def test_the_gravest_are_found_behind_any_number_of_others(say: Say) -> None:
    say("bypass", "on")
    for _ in range(3):
        say("bypass", "off")
    assert "bypass on for everything" in say("events", "--severity", "warning", "--limit", "1").out


def test_reload(say: Say, box: ControlBox) -> None:
    assert say("reload").out == "changed: nothing\n"
    good = box.file.read_text()
    box.write(peer='on_failure = "opn"')
    said = say("reload")
    assert (said.status, said.out) == (2, "")
    assert f"{box.file}: peers[0].on_failure: cannot be 'opn'; What a new TCP flow" in said.err
    assert len(said.err.splitlines()) == 1
    box.file.write_text(good)


def test_configuration_in_force(say: Say) -> None:
    (tree,) = say("config", "show", "--json").json
    assert tree["box"]["id"] == "branch-1"
    assert json.loads(say("config", "show").out) == tree


@pytest.mark.parametrize(
    "command",
    [("status",), ("flows",), ("peers",), ("events",), ("reload",), ("bypass", "on"), ("config", "show")],
)
def test_no_box_is_running(say: Say, tmp_path: Path, command: tuple[str, ...]) -> None:
    said = say(*command, "--socket", str(tmp_path / "none"))
    assert (said.status, said.out) == (1, "")
    assert "branchline is not running" in said.err
    assert "branchline run CONFIG" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("site", ["branch", "datacentre"])
def test_an_example_is_printed_as_it_is_in_the_repository(say: Say, site: str) -> None:
    assert say("config", "example", site).out == (EXAMPLES / f"{site}.toml").read_text()


def test_check(say: Say, box: ControlBox, tmp_path: Path) -> None:
    assert say("config", "check", str(box.file)).out == f"{box.file}: good; box branch-1, 1 peers, 1 rules\n"
    example = EXAMPLES / "branch.toml"
    assert say("config", "check", "--elsewhere", str(example)).status == 0
    said = say("config", "check", str(example))
    assert (said.status, said.out) == (2, "")
    assert f"{example}: box.key: " in said.err
    (wrong,) = say("config", "check", "--json", str(tmp_path / "none.toml")).json
    assert wrong["ok"] is False
    assert wrong["remedy"]


def test_keys(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "etc" / "box.key"
    made = say("key", "new", str(file))
    assert made.status == 0
    assert "fingerprint SHA256:" in made.err
    assert say("key", "show", str(file)).out == made.out
    assert say("key", "show", "--json", str(file)).json[0]["public"] == made.out.strip()
    again = say("key", "new", str(file))
    assert (again.status, again.out) == (1, "")
    assert "exists already" in again.err
    gone = say("key", "show", str(tmp_path / "none"))
    assert gone.status == 1
    assert "branchline key new" in gone.err


def test_run_refuses_before_anything_is_changed(say: Say, box: ControlBox, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        box.file.read_text()
        .replace(str(box.directory / "run"), str(tmp_path / "run"))
        .replace('id = "dc"', "id = 5")
    )
    said = say("run", str(wrong))
    assert (said.status, said.out) == (2, "")
    assert f"{wrong}: peers[0].id: 5 is not a name; write it in quotes" in said.err
    assert not (tmp_path / "run").exists()


def test_run_refuses_an_interface_that_is_not_there(say: Say, box: ControlBox, tmp_path: Path) -> None:
    file = tmp_path / "box.toml"
    text = box.file.read_text().replace(str(box.directory / "run"), str(tmp_path / "run"))
    file.write_text(text.replace('"wan0"', '"no-such-if0"'))
    assert load(file).box.wan == ("no-such-if0",), "not an error of the file: it may be plugged in later"
    said = say("run", str(file))
    assert (said.status, said.out) == (1, "")
    assert "there is no interface" in said.err
    assert not (tmp_path / "run").exists()


def test_a_file_that_cannot_be_made(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "none" / "for-support.tar.gz"
    said = say("diagnose", "-o", str(file))
    assert (said.status, said.out) == (1, "")
    assert said.err == f"Error: {file}: No such file or directory\n"


def test_a_token_from_a_pipe(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("no token\n"))
    said = say("enrol", "join", "--lan", "lan0", "--wan", "wan0")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("Error: this is no token;")


def test_an_unknown_command(say: Say) -> None:
    said = say("statsu")
    assert said.status == 2
    assert "No such command" in said.err
