"""The router's share of the box, as the kernel and QEMU have it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.vm.box import SMALL, VmBox
from vmhost.guarantees import KILLED_FIRST

GROUP = Path("/sys/fs/cgroup/cpu/machine")


def test_the_host_is_small(box: VmBox, guest: str) -> None:
    """Whatever other tests have made the control plane do, and after more of it; `box` sees to those that it ends."""
    box.call("enrol_invite", branch="branch-2", dial=["10.9.0.1:4001"])
    box.call("enrol_withdraw", branch="branch-2")
    for _ in range(3):
        backup = box.call("vm_backup", name=guest)["path"]
        box.call("vm_kill", name=guest)
        shutil.rmtree(box.call("vm_restore", name=guest, backup=backup)["kept"])
        shutil.rmtree(backup)
    assert box.call("vm_host")["rss"]["branchline"] <= SMALL
    box.must_be_small()


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
