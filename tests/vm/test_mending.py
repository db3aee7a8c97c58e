"""What a machine outlives: the death of libvirtd in its start, of QEMU while it writes, a full disk."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.rpc import RpcError
from tests.vm.box import VmBox, until


def _number(line: str) -> int:
    return int(line.split()[2])


def _again(box: VmBox, kind: str, since: float) -> bool:
    return kind in box.kinds(since)


def _until_mended(box: VmBox, kind: str, since: float) -> None:
    """What a person does if libvirtd does not let go of a start is to restart it."""
    until(lambda: not {kind, "vm.stuck"}.isdisjoint(box.kinds(since)), f"{kind}, or what to do is said")
    if kind not in box.kinds(since):
        box.kill_libvirtd()
        box.start_libvirtd()
        until(lambda: _again(box, kind, since), kind)


def _is_begun(half: Path) -> bool:
    try:
        text = half.read_text()
    except FileNotFoundError:
        return False
    return any(f"<domstatus state='{state}'" in text for state in ("paused", "running"))


def test_a_start_in_whose_middle_libvirtd_is_killed(box: VmBox, guest: str, began: float) -> None:
    box.vm("kill", guest)
    half = Path(f"/run/libvirt/qemu/{guest}.xml")  # libvirtd's own note of a machine that is there
    until(lambda: not half.exists(), "the machine is gone")
    starting = box.begin("start", guest)
    until(lambda: _is_begun(half), "QEMU is there")
    box.kill_libvirtd()
    starting.wait()
    again = time.time()
    box.start_libvirtd()
    until(lambda: box.known(guest), "libvirtd is found again")
    cut_off = starting.returncode != 0 and box.states() != {guest: "running"}
    if cut_off:  # else the start was over before libvirtd was
        _until_mended(box, "vm.started", again)
    box.hears(guest, "guest ready")
    assert box.states() == {guest: "running"}


def test_what_was_stopped_by_hand_stays_off(box: VmBox, guest: str, began: float) -> None:
    box.vm("kill", guest)
    box.kill_control()
    box.kill_libvirtd()
    again = time.time()
    box.start_libvirtd()
    box.start_control()
    until(lambda: box.known(guest), "its state has been looked at")
    assert "vm.crashed" not in box.kinds(again)
    assert box.states() == {guest: "off"}
    box.vm("start", guest)
    assert box.states() == {guest: "running"}


def test_a_power_cut_while_it_writes(box: VmBox, image: Path, tmp_path: Path, began: float) -> None:
    """What the guest has been told is written is there, and the image is sound."""
    data = tmp_path / "data.img"
    with data.open("wb") as file:
        file.truncate(16 * 2**20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", data], check=True)
    box.vm("create", box.recipe("writer", image, autostart=True, second=data))
    try:
        box.hears("writer", "guest ready")
        assert _number(box.hears("writer", "guest found", "write\n")) == 0
        written = _number(box.hears("writer", "guest wrote"))
        os.kill(box.emulator("writer"), signal.SIGKILL)
        until(lambda: _again(box, "vm.crashed", began), "the cut is noticed")
        until(lambda: box.kinds(began).count("vm.started") == 2, "it is started again")
        box.hears("writer", "guest ready")
        assert _number(box.hears("writer", "guest found", "write\n")) >= written
        box.hears("writer", "guest wrote")
        box.vm("kill", "writer")
        for name in ("system", "data"):
            disk = box.directory / "state" / "vm" / "writer" / f"{name}.qcow2"
            subprocess.run(["qemu-img", "check", "-q", disk], check=True)
    finally:
        box.vm("kill", "writer")
        box.vm("delete", "writer", "--disks", "--yes")


@pytest.fixture
def small_disk(box: VmBox) -> Iterator[Path]:
    """The directory of the machines is a file system of its own."""
    directory = box.directory / "state" / "vm"
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400M", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_full_disk(box: VmBox, image: Path, small_disk: Path, began: float) -> None:
    box.vm("create", box.recipe("full", image, empty="200MiB"))
    try:
        box.hears("full", "guest ready")
        left = os.statvfs(small_disk)
        used = (left.f_blocks - left.f_bfree) * left.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={used + 2**23}", small_disk], check=True)
        box.hears("full", "guest burns", "burn\n")
        until(lambda: _again(box, "vm.disk_full", began), "it is said")
        assert box.states() == {"full": "paused"}
        assert "paused (disk full)" in box.vm("list")
        subprocess.run(["mount", "-o", "remount,size=1400M", small_disk], check=True)
        until(lambda: _again(box, "vm.resumed", began), "it goes on by itself")
        assert box.states() == {"full": "running"}
    finally:
        box.vm("kill", "full")
        box.vm("delete", "full", "--disks", "--yes")


def test_a_machine_is_not_made_half_when_libvirtd_is_lost(box: VmBox, image: Path, began: float) -> None:
    making = box.begin("create", box.recipe("lost", image))
    until(Path("/run/libvirt/qemu/lost.xml").exists, "it is being started")
    box.kill_libvirtd()
    failed = making.wait()
    box.start_libvirtd()
    if failed:  # else the start was over before libvirtd was
        _until_mended(box, "vm.swept", began)
        with pytest.raises(RpcError):
            box.call("vm_start", name="lost")
        assert box.states() == {}
        assert not (box.directory / "state" / "vm" / "lost").exists()
    else:
        until(lambda: box.known("lost"), "libvirtd is found again")
        box.vm("kill", "lost")
        box.vm("delete", "lost", "--disks", "--yes")
