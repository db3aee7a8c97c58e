"""Backups of real guests: taken, proved, restored."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import pytest

from tests.vm.box import BRIDGE, SOCKET, VmBox, until
from vmhost.backup import archive
from vmhost.errors import VmError
from vmhost.link import Link

SIGN = ("--boot", "--sign", "guest ready")


@pytest.fixture(autouse=True)
def nothing_left(box: VmBox) -> Iterator[None]:
    yield
    shutil.rmtree(box.directory / "state" / "vm-backups", ignore_errors=True)
    for name, state in box.states().items():
        if state == "running":
            box.vm("kill", name)
        box.vm("delete", name, "--disks", "--yes")
    for left in (box.directory / "state" / "vm").iterdir():
        assert ".before-" in left.name, left
        shutil.rmtree(left)


def _backups(box: VmBox, *arguments: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in box.vm("backups", *arguments, "--json").splitlines()]


def _identity(name: str) -> list[str | None]:
    """Of a machine, as libvirt keeps it: uuid, the address of its network card, its generation."""
    root = ElementTree.parse(f"/etc/libvirt/qemu/{name}.xml").getroot()
    mac = root.find("devices/interface/mac")
    assert mac is not None
    return [root.findtext("uuid"), mac.get("address"), root.findtext("genid")]


def test_a_machine_that_runs_is_backed_up_proved_and_restored(box: VmBox, guest: str, began: float) -> None:
    said = box.vm("backup", guest)
    assert "as after a power cut (" in said
    (one,) = _backups(box)
    path = Path(one["path"])
    assert (one["vm"], one["consistency"], one["proved"]) == (guest, "crash", None)
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "system.qcow2"]
    before = (path / "system.qcow2").read_bytes()
    assert "all bytes are what they were" in box.vm("verify", guest)
    assert "`branchline vm stop directory` first" in box.vm("restore", guest, "latest", fails=True)
    box.vm("kill", guest)
    assert 'its console said "guest ready"' in box.vm("verify", guest, "latest", *SIGN)
    assert _backups(box, guest)[0]["proved"] is True
    assert (path / "system.qcow2").read_bytes() == before
    assert box.states() == {guest: "off"}

    identity = _identity(guest)
    answer = json.loads(box.vm("restore", guest, one["backup"], "--json"))
    assert "guest ready" in box.hears(guest, "guest ready")
    assert _identity(guest)[:2] == identity[:2]
    assert _identity(guest)[2] != identity[2]
    assert (Path(answer["kept"]) / "system.qcow2").exists()
    box.vm("restore", guest, str(path), "--as", "other")
    assert not set(_identity("other")) & set(_identity(guest))
    assert {"vm.backed_up", "vm.backup_checked", "vm.backup_proved", "vm.restored"} <= set(box.kinds(began))


@pytest.fixture
def agile(box: VmBox, image_with_agent: Path, tmp_path: Path) -> str:
    """The name of a machine that runs with a guest agent, and writes to its second disk all the time."""
    data = tmp_path / "data.img"
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", data, "16M"], check=True)
    recipe = box.recipe("directory", image_with_agent)
    recipe.write_text(f'{recipe.read_text()}[[disks]]\nname = "data"\nimage = "{data}"\n')
    box.vm("create", recipe)
    until(lambda: _agent(box, '{"execute": "guest-ping"}') == {}, "the agent answers")
    return "directory"


def _agent(box: VmBox, command: str) -> object:
    """What the guest's agent answers; None if it does not."""
    try:
        with box.libvirt() as connection:
            said = libvirt_qemu.qemuAgentCommand(connection.lookupByName("directory"), command, 5, 0)
    except libvirt.libvirtError:
        return None
    return json.loads(said)["return"]


def test_the_file_systems_are_frozen_at_the_point_in_time(box: VmBox, agile: str, tmp_path: Path) -> None:
    """Else the journal of the copy would have to be replayed: the guest writes all the time."""
    console = box.begin("console", agile)
    assert console.stdout is not None
    while b"guest ready" not in console.stdout.readline():
        pass
    assert "frozen by its agent" in box.vm("backup", agile)
    heard: list[bytes] = []
    while len(heard) < 2:
        line = console.stdout.readline().strip()
        heard += [line] if b"guest: " in line else []
    console.kill()
    console.communicate()
    assert heard == [b"guest: freeze", b"guest: thaw"]
    path = Path(_backups(box)[0]["path"])
    raw = tmp_path / "raw.img"
    subprocess.run(["qemu-img", "convert", "-O", "raw", path / "data.qcow2", raw], check=True)
    features = subprocess.run(
        ["/usr/sbin/dumpe2fs", "-h", raw], capture_output=True, text=True, check=True
    ).stdout
    assert "has_journal" in features
    assert "needs_recovery" not in features
    assert "its agent answered" in box.vm("verify", agile, "latest", "--boot")


def test_a_file_that_the_guest_makes_is_copied(box: VmBox, agile: str, tmp_path: Path) -> None:
    """Larger than one piece; and what goes wrong in the guest is told."""
    link, file = Link(f"qemu+unix:///system?socket={SOCKET}"), tmp_path / "file"

    async def fetched() -> None:
        up = asyncio.Event()
        link.start(on_event=lambda *_: None, on_up=up.set, on_down=lambda _: None)
        await up.wait()
        await archive.fetch(link, agile, file, "seq 400000 >/tmp/made; echo /tmp/made", "rm /tmp/made")
        with pytest.raises(VmError, match="No such file"):
            await archive.fetch(link, agile, file, "echo /tmp/made", "true")
        with pytest.raises(VmError, match="domain-backup"):
            await archive.fetch(link, agile, file)

    asyncio.run(fetched())
    assert file.read_text() == "".join(f"{number}\n" for number in range(1, 400001))


def test_what_a_crash_leaves_frozen_is_thawed(box: VmBox, agile: str) -> None:
    """The control plane dies between the two; its next one lets the guest go on."""
    frozen = box.directory / "state" / "vm" / agile / ".frozen"
    status = '{"execute": "guest-fsfreeze-status"}'
    box.kill_control()
    frozen.touch()
    with box.libvirt() as connection:
        assert connection.lookupByName(agile).fsFreeze() == 1
    until(lambda: _agent(box, status) == "frozen", "it says so")
    box.start_control()
    until(lambda: not frozen.exists(), "it is thawed")
    until(lambda: _agent(box, status) == "thawed", "it says so")


def test_a_backup_that_is_no_good_is_told_and_not_restored(box: VmBox, guest: str, began: float) -> None:
    box.vm("backup", guest)
    file = Path(_backups(box)[0]["path"]) / "system.qcow2"
    with file.open("r+b") as disk:
        disk.seek(300_000)
        disk.write(b"not what it was")
    assert "system.qcow2 has changed since" in box.vm("verify", guest, fails=True)
    assert _backups(box)[0]["proved"] is False
    assert "vm.backup_bad" in box.kinds(began)
    box.vm("kill", guest)
    assert "is no good: system.qcow2 has changed" in box.vm("restore", guest, "latest", fails=True)
    assert "there is no backup" in box.vm("restore", guest, "20200101T000000Z", fails=True)
    assert box.states() == {guest: "off"}
    box.vm("start", guest)
    (file.parent / "manifest.json").write_text("{}")
    assert [one["how"] for one in _backups(box)] == ["its manifest cannot be read"]


def test_a_machine_that_is_off_stays_off_while_it_is_copied(box: VmBox, image: Path, tmp_path: Path) -> None:
    large, guest = tmp_path / "large.img", "directory"
    large.write_bytes(image.read_bytes() + os.urandom(2**24) * 24)
    box.vm("create", box.recipe(guest, large))
    box.vm("kill", guest)
    disk = box.directory / "state" / "vm" / guest / "system.qcow2"
    taking = box.begin("backup", guest)
    box.stop_child("qemu-img", "convert")
    assert "is being backed up" in box.vm("start", guest, fails=True)
    assert "is being backed up" in box.vm("delete", guest, "--yes", fails=True)
    locked = subprocess.run(
        ["qemu-io", "-c", "write 0 1", str(disk)], capture_output=True, text=True, check=False
    )
    assert 'Failed to get "write" lock' in locked.stderr
    box.vm("backup", guest, "--cancel")
    assert taking.wait() == 1
    assert _backups(box) == []
    assert not list((box.directory / "state" / "vm-backups").glob("*/*"))
    assert "it was off" in box.vm("backup", guest)
    copied = Path(_backups(box)[0]["path"]) / "system.qcow2"
    subprocess.run(["qemu-img", "compare", "-q", str(disk), str(copied)], check=True)


def test_a_backup_outlives_a_crash_of_the_control_plane(
    box: VmBox, image: Path, tmp_path: Path, began: float
) -> None:
    large, guest = tmp_path / "large.img", "directory"
    large.write_bytes(image.read_bytes() + os.urandom(2**24) * 24)
    box.vm("create", box.recipe(guest, large))
    journal = box.directory / "state" / "vm" / guest / ".backup"
    taking = box.begin("backup", guest)
    until(lambda: b'"begun":true' in _content(journal), "the job has begun")
    box.kill_control()
    assert taking.wait() == 1
    box.start_control()
    until(lambda: "vm.backed_up" in box.kinds(began), "it is finished")
    assert not journal.exists()
    assert "all bytes are what they were" in box.vm("verify", guest)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _first_by_itself(box: VmBox, began: float) -> None:
    """Of a machine with [backup] one is due at once, and control looks when it begins."""
    box.kill_control()
    box.start_control()
    until(lambda: "vm.backed_up" in box.kinds(began), "the first is taken")


def test_backups_are_taken_by_themselves_and_what_is_old_goes(box: VmBox, image: Path, began: float) -> None:
    recipe = box.recipe("directory", image)
    recipe.write_text(recipe.read_text() + '[backup]\nevery = "10min"\nkeep = 1\n')
    box.vm("create", recipe)
    _first_by_itself(box, began)
    (first,) = _backups(box)
    manifest = Path(first["path"]) / "manifest.json"
    tree = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**tree, "taken": tree["taken"] - 600}))
    box.kill_control()
    box.start_control()
    until(lambda: "vm.backup_deleted" in box.kinds(began), "another is taken, the first is deleted")
    (second,) = _backups(box)
    assert second["backup"] > first["backup"]


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Path]:
    """What an rsync daemon on the bridge has: the module `backups`."""
    directory, config = tmp_path / "module", tmp_path / "rsyncd.conf"
    directory.mkdir()
    config.write_text(
        f"use chroot = no\nlog file = {tmp_path}/rsyncd.log\n"
        f"[backups]\npath = {directory}\nread only = no\nuid = root\nhosts allow = 10.9.0.2\n"
    )
    subprocess.run(["ip", "address", "add", "10.9.0.1/24", "dev", BRIDGE], check=True)
    command = ["rsync", "--daemon", "--no-detach", f"--config={config}", "--address=10.9.0.1", "--port=8873"]
    daemon = subprocess.Popen(command)
    try:
        yield directory
    finally:
        daemon.kill()
        daemon.wait()
        subprocess.run(["ip", "address", "delete", "10.9.0.1/24", "dev", BRIDGE], check=True)


def test_backups_are_sent_to_another_site(box: VmBox, image: Path, module: Path, began: float) -> None:
    """From an address of the LAN; what could not be sent is sent with the next."""
    recipe = box.recipe("directory", image)
    recipe.write_text(
        f'{recipe.read_text()}[backup]\nevery = "24h"\nsend = "rsync://10.9.0.1:8873/backups"\n'
        'send_from = "10.9.0.2/24"\nsend_by = "10.9.0.1"\n'
    )
    module.rename(module.with_name("away"))
    box.vm("create", recipe)
    _first_by_itself(box, began)
    until(lambda: "vm.backup_unsent" in box.kinds(began), "it cannot be sent")
    assert "are not at rsync://10.9.0.1:8873/backups" in box.vm("backup", "directory", fails=True)
    module.with_name("away").rename(module)
    box.vm("backup", "directory")
    backups = _backups(box)
    assert len(backups) == 3
    for one in backups:
        sent = module / "directory" / one["backup"]
        assert {file.name: file.read_bytes() for file in sent.iterdir()} == {
            file.name: file.read_bytes() for file in Path(one["path"]).iterdir()
        }
    kinds = box.kinds(began)
    assert kinds.index("vm.backup_unsent") < kinds.index("vm.backup_sent")
    assert not Path("/run/netns/bl-backup").exists()


def test_a_disk_that_is_too_full_is_told_before(box: VmBox, guest: str, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1028M", "tmpfs", str(tmp_path)], check=True)
    try:
        assert "free space, or back up elsewhere" in box.vm("backup", guest, "--to", tmp_path, fails=True)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
    assert "is no place for backups" in box.vm("backup", guest, "--to", "ftp://elsewhere/", fails=True)


@pytest.mark.parametrize(
    ("role", "said"), [("rodc", "`--stage FILE` makes it anew"), ("new", "archive is not in this backup")]
)
def test_the_disk_of_a_directory_never_comes_back(box: VmBox, image: Path, role: str, said: str) -> None:
    recipe = box.recipe("directory", image)
    recipe.write_text(f'kind = "directory"\nrole = "{role}"\n{recipe.read_text()}')
    box.vm("create", recipe)
    box.vm("backup", "directory")
    box.vm("kill", "directory")
    assert said in box.vm("restore", "directory", "latest", fails=True)
    other = box.vm("restore", "directory", "latest", "--as", "other", fails=True)
    assert "is restored in its own place only" in other
    assert box.states() == {"directory": "off"}
