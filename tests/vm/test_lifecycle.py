"""A machine from its recipe to its end, on a real libvirtd with a real guest."""

import json
import os
import signal
import time
from pathlib import Path

from tests.vm.box import DEADLINE_S, VmBox, until


def test_a_machine_is_made_stopped_started_and_deleted(box: VmBox, image: Path, began: float) -> None:
    recipe = box.recipe("directory", image)
    said = box.vm("create", recipe)
    assert said.startswith("directory runs, emulated: there is no /dev/kvm")
    assert f"disk {24 * 2**20}, cards eth0" in box.hears("directory", "guest ready")
    assert box.states() == {"directory": "running"}
    counters = json.loads(box.vm("stats", "directory", "--json"))
    assert counters["block.0.rd.bytes"] > 10 * 2**20
    assert box.vm("stop", "directory") == "directory: off\n"
    assert "is off" in box.vm("console", "directory", fails=True)
    assert box.vm("start", "directory") == "directory: running\n"
    assert "runs; `branchline vm stop" in box.vm("delete", "directory", "--yes", fails=True)
    assert box.vm("kill", "directory") == "directory: off\n"
    disk = box.directory / "state" / "vm" / "directory" / "system.qcow2"
    assert str(disk.parent) in box.vm("delete", "directory", "--yes")
    assert disk.exists()
    assert "disks of an earlier directory" in box.vm("create", recipe, fails=True)
    disk.unlink()
    disk.parent.rmdir()
    assert box.states() == {}
    expected = ["vm.created", "vm.started", "vm.stopped", "vm.started", "vm.stopped", "vm.deleted"]
    assert sorted(box.kinds(began)) == sorted(expected)


def _restarted(box: VmBox, since: float) -> bool:
    """Whether a machine has crashed, and runs again: libvirt has done all that belongs to its start."""
    kinds = box.kinds(since)
    return "vm.crashed" in kinds and "vm.started" in kinds[kinds.index("vm.crashed") :]


def test_what_dies_comes_back(box: VmBox, guest: str, began: float) -> None:
    """QEMU, then libvirtd, then control, each killed; and QEMU while nobody looks."""
    first = box.emulator(guest)
    os.kill(first, signal.SIGKILL)
    until(lambda: _restarted(box, began), "the machine is started again")
    second = box.emulator(guest)
    assert second != first

    files = box.open_files()
    box.kill_libvirtd()
    until(lambda: "libvirt.down" in box.kinds(began), "the loss is noticed")
    assert "libvirt" in box.vm("list", fails=True)
    box.start_libvirtd()
    until(lambda: "libvirt.up" in box.kinds(began), "libvirtd is found again")
    assert box.states() == {guest: "running"}
    assert box.emulator(guest) == second
    until(lambda: box.open_files() <= files, "nothing is left of the connection that was lost")

    box.kill_control()
    os.kill(second, signal.SIGKILL)
    again = time.time()
    box.start_control()
    until(lambda: _restarted(box, again), "the machine is started again")
    assert box.states() == {guest: "running"}
    assert box.emulator(guest) != second


def test_a_libvirtd_that_hangs_holds_nothing_else_up(box: VmBox) -> None:
    box.signal_libvirtd(signal.SIGSTOP)
    try:
        asked = box.begin("list")
        assert box.call("status")["box"] == "branch-1"
        assert asked.poll() is None
        assert asked.wait(DEADLINE_S) == 1
    finally:
        box.signal_libvirtd(signal.SIGCONT)
    until(box.serves, "libvirtd is found again")
    assert box.states() == {}


def test_a_guest_that_is_made_deaf_to_its_power_button(box: VmBox, guest: str) -> None:
    """Typed at its console; then it cannot be stopped, and goes on."""
    console = box.begin("console", guest)
    assert console.stdin is not None
    assert console.stdout is not None
    while b"guest ready" not in console.stdout.readline():
        pass
    console.stdin.write(b"deaf\n")
    console.stdin.flush()
    while b"guest is deaf" not in console.stdout.readline():
        pass
    console.stdin.write(b"\x1d")
    console.stdin.flush()
    assert console.wait(DEADLINE_S) == 0
    assert "`branchline vm kill directory`" in box.vm("stop", guest, fails=True)
    assert box.states() == {guest: "running"}
