"""What control does to the kernel of a real box, and that it undoes it: fate table, policy routes, settings."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.lab import Host, Lab
from appliance.lab.pair import Box, Pair
from appliance.rpc import RpcError
from tests.lab.plain_pair import until

SETTINGS = ("net/ipv4/tcp_early_demux", "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


def kernel(host: Host) -> dict[str, Any]:
    """What Branchline may touch, as the tools of the system show it."""
    listings = {
        "tables": ["nft", "list", "tables"],
        "rules": ["ip", "rule"],
        "rules6": ["ip", "-6", "rule"],
        "routes": ["ip", "route", "show", "table", "100"],
        "routes6": ["ip", "-6", "route", "show", "table", "100"],
    }
    found = {
        name: host.run(argv, capture_output=True, text=True, check=False).stdout
        for name, argv in listings.items()
    }
    return found | {name: host.read(f"/proc/sys/{name}").strip() for name in SETTINGS}


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    """Two boxes that are not started yet."""
    pair = Pair(lab)
    yield pair
    pair.close()


@pytest.fixture
def box(pair: Pair) -> Box:
    """A box whose control plane runs alone, without supervisor and data plane."""
    make_directories(pair.branch)
    start(pair.branch)
    return pair.branch


def make_directories(box: Box) -> None:
    """As the supervisor would."""
    for name in ("run", "state"):
        (box.directory / name).mkdir()


def eventually(condition: Callable[[], bool], what: str, within: float = 15.0) -> None:
    assert until(condition, within), what


def start(box: Box) -> subprocess.Popen[bytes]:
    with box.log.open("ab") as log:
        process = box.host.python("appliance.control", str(box.config), stdout=log, stderr=log)
    eventually(lambda: answers(box), "control answers")
    return process


def answers(box: Box) -> bool:
    try:
        return bool(box.status()["box"])
    except (OSError, RpcError):
        return False


def kinds(box: Box) -> list[str]:
    return [event["kind"] for event in box.events()]


def test_it_is_all_there_and_all_gone(lab: Lab, pair: Pair) -> None:
    lab.branch.sysctl("net.ipv4.tcp_early_demux", 1)
    before = kernel(lab.branch)
    make_directories(pair.branch)
    process = start(pair.branch)
    during = kernel(lab.branch)
    assert "table inet branchline_fate" in during["tables"]
    for rules, routes in (("rules", "routes"), ("rules6", "routes6")):
        assert during[rules].count("fwmark 0x1 lookup 100") == 1
        assert during[routes].startswith("local default dev lo")
    assert during["net/ipv4/tcp_early_demux"] == "0"
    process.terminate()
    assert process.wait(10) == 0
    assert kernel(lab.branch) == before


def test_a_foreign_flush_is_put_right_and_said(lab: Lab, box: Box) -> None:
    during = kernel(lab.branch)
    lab.branch.run(["nft", "flush", "ruleset"], check=True)
    lab.branch.run(["ip", "-6", "rule", "del", "fwmark", "1", "table", "100"], check=True)
    lab.branch.run(["ip", "route", "flush", "table", "100"], check=True)
    lab.branch.sysctl("net.ipv4.tcp_early_demux", 1)
    eventually(lambda: "kernel.restored" in kinds(box), "it is noticed")
    eventually(lambda: kernel(lab.branch) == during, "it is put back")


def test_a_killed_control_leaves_the_kernel_and_the_next_one_finds_it(lab: Lab, pair: Pair) -> None:
    lab.branch.sysctl("net.ipv4.tcp_early_demux", 1)
    before = kernel(lab.branch)
    make_directories(pair.branch)
    process = start(pair.branch)
    pair.branch.call("bypass", on=True, peer="dc")
    during = kernel(lab.branch)
    process.kill()
    process.wait()
    assert kernel(lab.branch) == during
    process = start(pair.branch)
    assert pair.branch.status()["bypass"]["peers"] == ["dc"]
    assert kernel(lab.branch) == during
    process.terminate()
    assert process.wait(10) == 0
    assert kernel(lab.branch) == before, "what was there before the first of the two"


def test_a_control_that_cannot_start_leaves_the_kernel_as_it_found_it(lab: Lab, pair: Pair) -> None:
    lab.branch.sysctl("net.ipv4.tcp_early_demux", 1)
    before = kernel(lab.branch)
    box = pair.branch
    make_directories(box)
    obstacle = box.run_dir / "sysctls.json.new"
    obstacle.mkdir()
    argv = [sys.executable, "-m", "appliance.control", str(box.config)]
    assert box.host.run(argv, capture_output=True, check=False).returncode == 1
    assert kernel(lab.branch) == before
    obstacle.rmdir()
    process = start(box)
    process.kill()
    process.wait()
    lab.branch.sysctl("net.ipv4.tcp_early_demux", 1)
    (box.run_dir / "sysctls.json").unlink()
    during = kernel(lab.branch)
    obstacle.mkdir()
    assert box.host.run(argv, capture_output=True, check=False).returncode == 1
    assert kernel(lab.branch) == during, "flows may depend on what an earlier control has left"


def test_a_listening_address_that_is_not_there_costs_no_flow(pair: Pair) -> None:
    pair.start()
    data, good = pair.dc.pids("data"), pair.dc.config.read_text()
    pair.dc.config.write_text(good.replace("0.0.0.0:4001", "10.77.0.1:4001"))
    with pytest.raises(RpcError, match=r"the data plane refused it: .*10\.77\.0\.1"):
        pair.dc.call("reload")
    assert pair.dc.pids("data") == data
    pair.branch.signal("data", signal.SIGKILL)  # its next one has to find a listener
    eventually(lambda: "data.down" in kinds(pair.branch), "it is dead")
    eventually(lambda: pair.branch.peer_state() == "up", "lanes are accepted where they were")


def test_a_wrong_configuration_touches_nothing(lab: Lab, pair: Pair) -> None:
    before = kernel(lab.branch)
    box = pair.branch
    box.config.write_text(box.config.read_text().replace('"wan0"', '"lan0"'))
    done = run(box)
    assert done.returncode == 2
    assert done.stderr == (
        f'Error: {box.config}: box.wan[0]: "lan0" is also in box.lan; an interface is on one side only\n'
    )
    assert kernel(lab.branch) == before
    assert not box.run_dir.exists()


def test_a_missing_interface_touches_nothing(lab: Lab, pair: Pair) -> None:
    before = kernel(lab.branch)
    box = pair.branch
    box.config.write_text(box.config.read_text().replace('"wan0"', '"ppp7"'))
    done = run(box)
    assert done.returncode == 1
    assert "box.wan: there is no interface ppp7" in done.stderr
    assert kernel(lab.branch) == before
    assert not box.run_dir.exists()


def test_a_second_supervisor_is_refused(lab: Lab, pair: Pair) -> None:
    pair.start()
    done = run(pair.branch)
    assert done.returncode == 1
    assert f"branchline runs already in {pair.branch.run_dir}" in done.stderr
    elsewhere = pair.branch.config.with_name("elsewhere.toml")
    text = pair.branch.config.read_text()
    elsewhere.write_text(text.replace(str(pair.branch.run_dir), str(pair.branch.directory / "elsewhere")))
    before = kernel(lab.branch)
    done = run(pair.branch, elsewhere)
    assert done.returncode == 1
    assert "branchline runs already in this network namespace" in done.stderr
    assert kernel(lab.branch) == before
    assert pair.branch.peer_state() == "up"


def run(box: Box, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "appliance.cli", "run", str(config or box.config)]
    return box.host.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_a_data_plane_that_hangs_is_killed_and_all_is_told(pair: Pair) -> None:
    pair.start()
    hung = pair.branch.signal("data", signal.SIGSTOP)
    eventually(lambda: hung not in pair.branch.pids("data"), "the supervisor loses patience")
    eventually(lambda: "process.died" in kinds(pair.branch), "it is told")
    eventually(lambda: pair.branch.peer_state() == "up", "it is back")
    assert {"process.killed", "process.died", "data.down", "data.up"} <= set(kinds(pair.branch))


def test_a_restarted_data_plane_starts_from_what_is_in_force_not_from_a_half_edited_file(pair: Pair) -> None:
    pair.start()
    good = pair.branch.config.read_text()
    pair.branch.config.write_text(good + "[[rules]\n")
    with pytest.raises(RpcError, match="cannot be understood"):
        pair.branch.call("reload")
    pair.branch.signal("data", signal.SIGKILL)
    eventually(lambda: "process.died" in kinds(pair.branch), "it is dead")
    eventually(lambda: pair.branch.peer_state() == "up", "it is back")
    pair.branch.config.write_text(good + '[[rules]]\nname = "more"\nports = ["7"]\neager = true\n')
    assert pair.branch.call("reload") == {"changed": "rules more", "data": "told"}
    pair.branch.signal("control", signal.SIGKILL)
    eventually(lambda: answers(pair.branch), "control is back")
    eventually(lambda: pair.branch.peer_state() == "up", "and asks the data plane")
    assert pair.branch.call("config")["rules"][-1]["name"] == "more"
