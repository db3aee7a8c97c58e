"""The directory's real system, of Debian's packages: it boots to an answering controller, and goes back to it."""

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.box import BRIDGE, SOCKET, VmBox
from tests.vm.centre import ADMINISTRATOR, DOMAIN, NETBIOS, PASSWORD, REALM, SITE
from tests.vm.image import build, newer
from tests.vm.joining import logs_on
from vmhost import calls
from vmhost.directory.guest.seed import FORMAT, Seed
from vmhost.directory.guest.telling import answers_dns, answers_ldap
from vmhost.directory.hearing import Status, hear

ADDRESS = "10.1.0.20"
MADE = 1_767_225_600  # 2026-01-01
LATER, LATEST = "20260102T000000Z", "20260103T000000Z"
PATIENCE_S = 600.0

pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def system(box: VmBox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as it is built."""
    return build(tmp_path_factory.mktemp("bundle") / "dc-1", box.build_key, MADE)


def _joined(provisioned: Path, directory: Path) -> Path:
    """A data disk as the machine has it when it has joined."""
    tree = directory / "data"
    shutil.copytree(provisioned / "etc", tree / "etc" / "samba")
    # Extended attributes are sysvol's access rights.
    (tree / "var" / "lib").mkdir(parents=True)
    subprocess.run(["cp", "-a", provisioned / "lib", tree / "var" / "lib" / "samba"], check=True)
    seed = Seed(role="new", realm=REALM, host="centre", site=SITE, address=f"{ADDRESS}/16")
    (tree / "branchline").mkdir()
    (tree / "branchline" / "joined").write_text(json.dumps({**dataclasses.asdict(seed), "format": FORMAT}))
    disk = directory / "data.img"
    with disk.open("wb") as file:
        file.truncate(512 * 2**20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "bl-data", "-d", tree, disk], check=True)
    return disk


@contextlib.contextmanager
def _machine(box: VmBox, directory: Path, system: Path, data: str) -> Iterator[str]:
    recipe = directory / "dc.toml"
    recipe.write_text(
        f'name = "dc"\nmemory = "640MiB"\nstop_within = "5min"\nbundle = "{system}"\n'
        f'kind = "directory"\nrole = "new"\n[[disks]]\nname = "data"\n{data}\n'
        f'[[networks]]\nbridge = "{BRIDGE}"\n'
        f'[health]\nkind = "directory"\naddress = "{ADDRESS}"\nrealm = "{REALM}"\nevery = "1h"\nwithin = "15s"\n'
    )
    box.vm("create", recipe)
    try:
        yield "dc"
    finally:
        box.vm("kill", "dc")
        box.vm("delete", "dc", "--disks", "--yes")
        shutil.rmtree(box.directory / "state" / "vm-backups", ignore_errors=True)
        for kept in (box.directory / "state" / "vm").glob("dc.before-*"):
            shutil.rmtree(kept)


def _ends(box: VmBox, *arguments: str | Path) -> tuple[int, str]:
    """`branchline vm …` that takes its time: exit status and what it says."""
    process = box.begin(*arguments)
    said, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said.decode()


def _told(box: VmBox, since: float) -> dict[str, Any]:
    """The evidence of the last event of each kind."""
    return {event["kind"]: event["evidence"] for event in box.call("events", since=since)}


def _domain(call: Any, *arguments: object) -> Any:
    """What one of vmhost.calls says of the machine."""
    import libvirt

    with contextlib.closing(libvirt.open(f"qemu+unix:///system?socket={SOCKET}")) as connection:
        return call(connection, "dc", *arguments)


def _heard() -> Status:
    """The first thing the machine says that is the end."""

    async def listen() -> Status:
        async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(hear(_domain(calls.status))) as said:
            async for last in said:
                if last.done or last.error is not None:
                    return last
        raise AssertionError("the machine has ended")

    return asyncio.run(listen())


def _add_user(name: str, password: str) -> None:
    """As the domain's administrator does, over the network."""
    command = ["samba-tool", "user", "create", name, password, "-H", f"ldap://{ADDRESS}"]
    command += ["-U", f"{ADMINISTRATOR}%{PASSWORD}", "--use-kerberos=off"]
    command += ["--configfile=/dev/null", f"--option=workgroup={NETBIOS}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_serves_is_updated_backed_up_and_made_again(
    box: VmBox,
    system: Path,
    provisioned: Path,
    tmp_path: Path,
    began: float,
    pytestconfig: pytest.Config,
) -> None:
    """What a person does with the first controller of a domain in its life, one thing after another."""
    if not pytestconfig.getoption("restored"):
        pytest.skip(
            "with --restored; small guests: test_backup, test_update; the domain without a machine: test_join"
        )
    data, slots = _joined(provisioned, tmp_path), box.directory / "state" / "vm" / "dc"
    with _machine(box, tmp_path, system, f'image = "{data}"\nsize = "512MiB"'):
        said = _heard()
        assert said == Status("ready", f"centre.{DOMAIN} answers LDAP and DNS", 1.0, done=True)
        assert answers_ldap(ADDRESS)
        assert answers_dns(DOMAIN, ADDRESS)
        _add_user("frank-1", "Wonderland-1")

        # A newer system, which proves healthy, with the same data.
        status, said_of = _ends(
            box, "update", "dc", newer(system, tmp_path / "later", LATER, box.build_key), "--json"
        )
        assert (status, json.loads(said_of)["to"]) == (0, LATER), said_of
        assert _domain(calls.booted) == str(slots / "slot-b" / "vmlinuz")
        assert {"ldap", "kerberos"} <= set(_told(box, began)["vm.updated"]["well"])
        assert logs_on(ADDRESS, "frank-1", "Wonderland-1", tmp_path)

        # A backup, with the file systems frozen and the domain beside them.
        status, said_of = _ends(box, "backup", "dc", "--json")
        assert (status, json.loads(said_of)["consistency"]) == (0, "frozen"), said_of
        backup = Path(json.loads(said_of)["path"])
        assert {"domain.tar.bz2", "machine.json"} <= {file.name for file in backup.iterdir()}

        # A system that does not boot, and the way back.
        broken = newer(system, tmp_path / "broken", LATEST, box.build_key, system=os.urandom(2**20))
        assert _ends(box, "update", "dc", broken)[0] == 1
        assert _domain(calls.booted) == str(slots / "slot-b" / "vmlinuz")
        undone = {"vm": "dc", "step": "disks", "said": "the system disk cannot be read", "to": LATER}
        assert _told(box, began)["vm.update_undone"] == undone

        # The machine is lost: the backup boots, but never onto the network; its domain goes to another controller.
        box.vm("kill", "dc")
        assert "agent answered" in _ends(box, "verify", "dc", "latest", "--boot")[1]
        assert "of another name than centre" in box.vm("restore", "dc", "latest", fails=True)
        status, said_of = _ends(box, "restore", "dc", "latest", "--host", "dc2", "--json")
        assert status == 0, said_of
        assert json.loads(said_of)["host"] == f"dc2.{DOMAIN}"
        assert Path(json.loads(said_of)["kept"], "data.qcow2").exists()
        assert logs_on(ADDRESS, "frank-1", "Wonderland-1", tmp_path)
        assert "vm.restored" in box.kinds(began)


def test_a_disk_of_somebody_else_is_not_touched(box: VmBox, system: Path, tmp_path: Path) -> None:
    data = tmp_path / "theirs.img"
    data.write_bytes(os.urandom(2**20) + bytes(2**24))
    with _machine(box, tmp_path, system, f'image = "{data}"'):
        assert "holds something that is not ours" in str(_heard().error)
        box.vm("kill", "dc")
        kept = box.directory / "state" / "vm" / "dc" / "data.qcow2"
        subprocess.run(["qemu-img", "compare", "-q", data, kept], check=True)


def test_its_python_is_compiled(system: Path, tmp_path: Path) -> None:
    """And counts as that, although SOURCE_DATE_EPOCH has changed the dates of the files."""
    command = [
        "unsquashfs",
        "-quiet",
        "-no-progress",
        "-dest",
        str(tmp_path / "root"),
        str(system / "system"),
    ]
    subprocess.run([*command, "usr/lib/python3*", "usr/lib/branchline"], check=True)
    compiled = {path: path.read_bytes()[4:8] for path in tmp_path.rglob("*.pyc")}
    unchecked = (1).to_bytes(4, "little")
    assert {path for path, flags in compiled.items() if flags != unchecked} == set()
    assert len(compiled) == len(list(tmp_path.rglob("*.py"))) > 500
