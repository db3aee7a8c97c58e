"""The router's share of the box, as the kernel and QEMU have it."""

import json
from pathlib import Path

import pytest

from tests.vm.box import VmBox, until
from vmhost.guarantees import KILLED_FIRST

GROUP = Path("/sys/fs/cgroup/cpu/machine")


def test_the_host_is_small(box: VmBox, guest: str) -> None:
    """Beside a machine that runs; what other tests have made it do is not counted."""
    box.kill_control()
    box.start_control()
    until(lambda: box.states().get(guest) == "running", "it knows the machine")
    assert json.loads(box.vm("host", "--json"))["rss"]["branchline"] <= 64 * 2**20


def test_a_machine_yields_to_the_router(box: VmBox, guest: str) -> None:
    said = json.loads(box.vm("host", "--json"))
    assert list(said["rss"]["guests"]) == [guest]
    held = said["guarantees"][guest]
    assert held["missing"] == []
    assert f"guarantee   {guest}: {held['processor']}" in box.vm("host")
    assert Path(f"/proc/{box.emulator(guest)}/oom_score_adj").read_text() == f"{KILLED_FIRST}\n"
    if not GROUP.exists():
        pytest.skip("libvirt has no control groups of version 1 here")
    if not (GROUP / "cpu.idle").exists():
        assert held["processor"] == "cpu.shares 102 of 1024 on the control group cpu/machine"
        assert (GROUP / "cpu.shares").read_text() == "102\n"
        return
    assert held["processor"] == "cpu.idle on the control group cpu/machine: it gets what the router leaves"
    assert (GROUP / "cpu.idle").read_text() == "1\n"
