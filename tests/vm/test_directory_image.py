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

import msgspec
import pytest

from tests.vm.box import BRIDGE, SOCKET, VmBox
from tests.vm.centre import ADMINISTRATOR, DOMAIN, PASSWORD, REALM, SITE
from tests.vm.image import build
from vmhost import calls
from vmhost.directory import bundle as bundles
from vmhost.directory.guest.seed import FORMAT, Seed
from vmhost.directory.guest.telling import answers_dns, answers_ldap
from vmhost.directory.hearing import Status, hear

ADDRESS = "10.1.0.20"
MADE = 1_767_225_600  # 2026-01-01
VERSION, LATER = "20260101T000000Z", "20260102T000000Z"
PATIENCE_S = 600.0

pytestmark = pytest.mark.timeout(1200)


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
        f'[[disks]]\nname = "data"\n{data}\n[[networks]]\nbridge = "{BRIDGE}"\n'
    )
    box.vm("create", recipe)
    try:
        yield "dc"
    finally:
        box.vm("kill", "dc")
        box.vm("delete", "dc", "--disks", "--yes")


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


def _logs_on(directory: Path) -> None:
    """A Kerberos ticket, by DNS and by the KDC of the machine."""
    conf = directory / "krb5.conf"
    conf.write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\n"
        f"[realms]\n{REALM} = {{\nkdc = {ADDRESS}\n}}\n"
    )
    done = subprocess.run(
        ["kinit", "-c", str(directory / "ticket"), ADMINISTRATOR],
        input=PASSWORD,
        capture_output=True,
        text=True,
        env={**os.environ, "KRB5_CONFIG": str(conf)},
    )
    assert done.returncode == 0, done.stderr


def test_it_boots_to_a_directory_and_goes_back_from_a_system_that_does_not(
    box: VmBox, system: Path, provisioned: Path, tmp_path: Path, began: float
) -> None:
    data = _joined(provisioned, tmp_path)
    with _machine(box, tmp_path, system, f'image = "{data}"'):
        said = _heard()
        assert said == Status("ready", f"centre.{DOMAIN} answers LDAP and DNS", 1.0, done=True)
        assert answers_ldap(ADDRESS)
        assert answers_dns(DOMAIN, ADDRESS)
        _logs_on(tmp_path)

        broken = shutil.copytree(system, tmp_path / "broken")
        (broken / "system").write_bytes(os.urandom(2**20))
        files = {name: bundles.measure(broken / name) for name in bundles.FILES}
        later = msgspec.structs.replace(bundles.taken(system), version=LATER, files=files)
        bundles.write(broken, later, box.build_key)
        assert box.begin("update", "dc", broken).wait(PATIENCE_S) == 1
        assert _domain(calls.booted) == str(box.directory / "state" / "vm" / "dc" / "slot-a" / "vmlinuz")
        events = {event["kind"]: event["evidence"] for event in box.call("events", since=began)}
        undone = {"vm": "dc", "step": "disks", "said": "the system disk cannot be read", "to": VERSION}
        assert events["vm.update_undone"] == undone


def test_a_disk_of_somebody_else_is_not_touched(box: VmBox, system: Path, tmp_path: Path) -> None:
    data = tmp_path / "theirs.img"
    data.write_bytes(os.urandom(2**20) + bytes(2**24))
    with _machine(box, tmp_path, system, f'image = "{data}"'):
        assert "holds something that is not ours" in str(_heard().error)
        box.vm("kill", "dc")
        kept = box.directory / "state" / "vm" / "dc" / "data.qcow2"
        subprocess.run(["qemu-img", "compare", "-q", data, kept], check=True)


def test_an_empty_disk_is_formatted(box: VmBox, system: Path, tmp_path: Path) -> None:
    with _machine(box, tmp_path, system, 'size = "64MiB"'):
        wrong = "the machine has not joined a domain, and there is no seed that says which"
        assert _heard().error == wrong
        box.vm("kill", "dc")
        raw = tmp_path / "data.raw"
        kept = box.directory / "state" / "vm" / "dc" / "data.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "raw", kept, raw], check=True)
        label = subprocess.run(["blkid", "-p", "-o", "value", "-s", "LABEL", raw], capture_output=True)
        assert label.stdout == b"bl-data\n"
