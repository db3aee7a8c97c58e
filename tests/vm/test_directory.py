"""The branch's directory by one command: the real one, and what is left when it fails."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.vm.box import BRIDGE, VmBox, until
from tests.vm.centre import ADMINISTRATOR, DOMAIN, Centre
from tests.vm.image import build, newer
from tests.vm.joining import SITE, logs_on, stage
from tests.vm.tiny_bundle import tiny_bundle

ADDRESS = "10.1.0.30"
VERSION, MADE = "20260101T000000Z", 1_767_225_600
LATER = "20260102T000000Z"

pytestmark = pytest.mark.timeout(1200)


def _asked(bundle: Path, address: str = "10.1.0.40/16") -> list[str | Path]:
    """For a new domain."""
    return [
        *("create", "directory", "--join", "new", "--realm", "ad.example", "--host", "dc1", "--site", "Here"),
        *("--address", address, "--bundle", bundle, "--bridge", BRIDGE),
        *("--memory", "96MiB", "--data", "64MiB"),
    ]


@pytest.mark.parametrize(
    ("guest", "wrong"),
    [
        ({"error": "there is no domain"}, "directory: there is no domain"),
        ({"done": True}, "the machine says it serves, but this box finds otherwise: dns"),
    ],
)
def test_nothing_is_left_of_a_directory_that_fails(
    box: VmBox, vmlinuz: Path, tmp_path: Path, began: float, guest: dict[str, Any], wrong: str
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", box.build_key, vmlinuz, version=VERSION, **guest)
    assert wrong in box.vm(*_asked(bundle), fails=True)
    assert box.states() == {}
    assert list((box.directory / "state" / "vm").iterdir()) == []
    assert "vm.directory_failed" in box.kinds(began)


def test_one_goes_on_when_branchline_and_the_machine_were_killed(
    box: VmBox, vmlinuz: Path, tmp_path: Path, began: float
) -> None:
    """It joins by itself; the next Branchline waits for that, and sees for itself whether it serves."""
    bundle = tiny_bundle(tmp_path / "bundle", box.build_key, vmlinuz, version=VERSION, then=True)
    making = box.begin(*_asked(bundle))
    until(lambda: "vm.created" in box.kinds(began), "the machine is made")
    for kept in ("health-password", "administrator-password"):
        assert (box.directory / "state/vm/directory" / kept).stat().st_mode & 0o777 == 0o600
    box.kill_control()
    making.communicate()
    os.kill(box.emulator("directory"), signal.SIGKILL)
    box.start_control()
    try:
        until(lambda: box.states() == {"directory": "running"}, "the machine is started again")
        assert "vm.directory_failed" not in box.kinds(began)
        assert "directory joins already" in box.vm(*_asked(bundle), fails=True)
        assert "is not a directory yet" in box.vm("backup", "directory", fails=True)
        box.hears("directory", "guest ready")
        box.hears("directory", "guest ready", typed="\n")
        until(lambda: "vm.directory_failed" in box.kinds(began), "it is seen that nobody serves")
        (said,) = [one for one in box.call("events", since=began) if one["kind"] == "vm.directory_failed"]
        assert "this box finds otherwise" in said["text"]
        assert box.states() == {"directory": "running"}
    finally:
        box.vm("kill", "directory")
        box.vm("delete", "directory", "--disks", "--yes")


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("10.1.0.10/16", "answers in lan0 already, at "),
        ("fd00:1::10/64", "answers in lan0 already, at "),
        ("10.1.0.1/16", "is an address of this box"),
    ],
)
def test_an_address_that_somebody_has_is_refused(
    box: VmBox, centre: Centre, tmp_path: Path, address: str, who: str
) -> None:
    assert who in box.vm(*_asked(tmp_path, address), fails=True)
    assert box.states() == {}


def test_a_bundle_of_somebody_else_is_not_booted(box: VmBox, vmlinuz: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", box.build_key, vmlinuz, version=VERSION)
    (bundle / "manifest.json").write_text((bundle / "manifest.json").read_text().replace("none", "much"))
    assert "is not signed by a key that this box trusts" in box.vm(*_asked(bundle), fails=True)
    assert list((box.directory / "state" / "vm").iterdir()) == []


def test_a_branch_that_joins_again_in_vain_is_as_it_was(
    box: VmBox, centre: Centre, vmlinuz: Path, tmp_path: Path, began: float
) -> None:
    wrong = "the centre does not know us"
    tiny_bundle(tmp_path / "bundle", box.build_key, vmlinuz, version=VERSION, error=wrong)
    (tmp_path / "data.img").write_bytes(b"an old state".ljust(2**20, b"\n"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "directory"\nmemory = "96MiB"\nbundle = "bundle"\nkind = "directory"\nrole = "rodc"\n'
        f'[[disks]]\nname = "data"\nimage = "data.img"\nsize = "16MiB"\n[[networks]]\nbridge = "{BRIDGE}"\n'
    )
    box.vm("create", recipe)
    try:
        box.vm("backup", "directory")
        box.vm("kill", "directory")
        file = tmp_path / "br31.stage"
        stage(centre, file, "br31", "--site", SITE, "--address", "10.1.0.31/16")
        said = box.vm("restore", "directory", "latest", "--stage", file, fails=True)
        assert f"directory: {wrong}" in said
        assert box.states() == {"directory": "off"}
        kept = box.directory / "state" / "vm" / "directory" / "data.qcow2"
        assert b"an old state" in kept.read_bytes()
        assert [one.name for one in kept.parents[1].iterdir()] == ["directory"]
        assert "vm.restored" not in box.kinds(began)
    finally:
        box.vm("delete", "directory", "--disks", "--yes")
        shutil.rmtree(box.directory / "state" / "vm-backups")


@pytest.mark.timeout(2400)
def test_one_command_makes_an_rodc_that_serves_without_the_centre(
    box: VmBox, centre: Centre, group: str, tmp_path: Path, began: float, pytestconfig: pytest.Config
) -> None:
    """A user of the centre logs on at the machine; without the centre, those whose passwords were fetched.

    So it is with a newer system, too.
    """
    bundle = build(tmp_path / "bundle", box.build_key, MADE)
    file = tmp_path / "br30.stage"
    place = ("--site", SITE, "--address", f"{ADDRESS}/16", "--gateway", "10.1.0.1")
    stage(centre, file, "br30", *place, "--prefetch", group)
    made = box.begin(
        *("create", "directory", "--join", "rodc", "--realm", DOMAIN, "--stage", file),
        *("--bundle", bundle, "--bridge", BRIDGE, "--data", "4GiB", "--json"),
    )
    said, _ = made.communicate()
    assert made.returncode == 0
    answer = json.loads(said)
    assert (answer["host"], answer["address"]) == (f"br30.{DOMAIN}", f"{ADDRESS}/16")
    checks = {"dns", "ldap", "kerberos", "clock", "sysvol", "replication"}
    assert {one["name"] for one in answer["health"] if one["ok"]} == checks
    until(
        lambda: box.call("vm_health", name="directory")[0]["state"] == "healthy", "the box finds it healthy"
    )
    assert {one["name"] for one in box.call("vm_health", name="directory")[0]["results"]} == checks
    disks = sorted(one.name for one in (box.directory / "state" / "vm" / "directory").glob("*.qcow2"))
    assert "seed.qcow2" not in disks
    for kept in ("/run/libvirt/qemu", "/etc/libvirt/qemu"):
        assert "seed" not in Path(kept, "directory.xml").read_text()
    assert (box.directory / "state/vm/directory/data.qcow2").stat().st_mode & 0o077 == 0
    try:
        _serves_alone(centre, tmp_path)
        newer(bundle, tmp_path / "later", LATER, box.build_key)
        updated = box.begin("update", "directory", tmp_path / "later", "--json")
        said, _ = updated.communicate()
        assert updated.returncode == 0
        assert json.loads(said)["to"] == LATER
        told = [one for one in box.call("events", since=began) if one["kind"] == "vm.updated"]
        assert {"dns", "ldap", "kerberos"} <= set(told[-1]["evidence"]["well"])
        _serves_alone(centre, tmp_path)
        if not pytestconfig.getoption("restored"):
            return  # the rest with a small guest: test_a_branch_that_joins_again_in_vain_is_as_it_was

        # The machine is lost: from its backup comes a new one, which joins.
        box.vm("backup", "directory")
        box.vm("kill", "directory")
        stage(centre, file, "br30", *place, "--prefetch", group, "--again")
        made = box.begin("restore", "directory", "latest", "--stage", file, "--json")
        said, _ = made.communicate()
        assert made.returncode == 0
        answer = json.loads(said)
        assert {one["name"] for one in answer["health"] if one["ok"]} == checks
        assert Path(answer["kept"], "data.qcow2").exists()
        assert "vm.restored" in box.kinds(began)
        _serves_alone(centre, tmp_path)
    finally:
        _delete(box)


@pytest.mark.timeout(2400)
def test_one_command_makes_a_full_controller(
    box: VmBox, centre: Centre, group: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Which has the passwords of all users, also of those who are not in `group`."""
    if not pytestconfig.getoption("restored"):
        pytest.skip("with --restored; the join without a machine: test_join.py")
    bundle = build(tmp_path / "bundle", box.build_key, MADE)
    file = tmp_path / "br32.stage"
    place = ("--site", SITE, "--address", f"{ADDRESS}/16", "--gateway", "10.1.0.1")
    stage(centre, file, "br32", "--role", "dc", *place)
    made = box.begin(
        *("create", "directory", "--join", "dc", "--realm", DOMAIN, "--stage", file),
        *("--bundle", bundle, "--bridge", BRIDGE, "--data", "4GiB", "--json"),
    )
    said, _ = made.communicate()
    assert made.returncode == 0
    try:
        assert all(one["ok"] for one in json.loads(said)["health"])
        centre.cut()
        try:
            for user in ("alice-1", "bob-1"):
                assert logs_on(ADDRESS, user, "Wonderland-1", tmp_path)
        finally:
            centre.mend()
    finally:
        _delete(box)
        stage(centre, file, "br32", "--remove")


@pytest.mark.timeout(2400)
def test_one_command_makes_a_domain(box: VmBox, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("restored"):
        pytest.skip("with --restored; the domain without a machine: test_join.py")
    bundle = build(tmp_path / "bundle", box.build_key, MADE)
    made = box.begin(
        *("create", "directory", "--join", "new", "--realm", DOMAIN, "--host", "dc1", "--site", SITE),
        *("--address", f"{ADDRESS}/16", "--bundle", bundle, "--bridge", BRIDGE, "--data", "4GiB", "--json"),
    )
    said, _ = made.communicate()
    assert made.returncode == 0
    try:
        answer = json.loads(said)
        assert all(one["ok"] for one in answer["health"])
        password = Path(answer["password"]).read_text().strip()
        assert logs_on(ADDRESS, ADMINISTRATOR, password, tmp_path)
    finally:
        _delete(box)


def _serves_alone(centre: Centre, scratch: Path) -> None:
    assert logs_on(ADDRESS, "alice-1", "Wonderland-1", scratch)
    centre.cut()
    try:
        assert logs_on(ADDRESS, "alice-1", "Wonderland-1", scratch)
        assert not logs_on(ADDRESS, "bob-1", "Wonderland-1", scratch)
    finally:
        centre.mend()


def _delete(box: VmBox) -> None:
    box.vm("kill", "directory")
    box.vm("delete", "directory", "--disks", "--yes")
    shutil.rmtree(box.directory / "state" / "vm-backups", ignore_errors=True)
    for kept in (box.directory / "state" / "vm").glob("directory.before-*"):
        shutil.rmtree(kept)
