"""A machine's system is changed for another one, and back if that is not healthy; its data stays."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.box import BRIDGE, VmBox, until
from tests.vm.tiny_bundle import tiny_bundle
from vmhost import calls
from vmhost.directory import signing

OLD, NEW, NEWER = "20260101T000000Z", "20260202T000000Z", "20260303T000000Z"


@pytest.fixture
def service() -> Iterator[socket.socket]:
    """What the machine is checked by; it is here, and so can fail when a test wants it to."""
    with socket.create_server(("10.1.0.1", 0), backlog=100) as listening:
        yield listening


@pytest.fixture
def dc(box: VmBox, vmlinuz: Path, tmp_path: Path, service: socket.socket) -> Iterator[str]:
    """A machine that has proved healthy with the version OLD."""
    (tmp_path / "data.img").write_bytes(b"these are its data..".ljust(2**20, b"\n"))
    tiny_bundle(tmp_path / "old", box.build_key, vmlinuz, version=OLD, done=True)
    recipe = tmp_path / "dc.toml"
    recipe.write_text(
        f'name = "dc"\nmemory = "96MiB"\nstop_within = "20s"\nautostart = true\nbundle = "old"\n'
        f'[[disks]]\nname = "data"\nimage = "data.img"\n[[networks]]\nbridge = "{BRIDGE}"\n'
        f'[health]\nkind = "tcp"\naddress = "10.1.0.1"\nport = {service.getsockname()[1]}\n'
    )
    box.vm("create", recipe)
    try:
        box.hears("dc", f"guest ready: system {OLD[:13]}")
        yield "dc"
    finally:
        box.vm("kill", "dc")
        box.vm("delete", "dc", "--disks", "--yes")


def _evidence(box: VmBox, kind: str, since: float) -> list[dict[str, object]]:
    return [event["evidence"] for event in box.call("events", since=since) if event["kind"] == kind]


def test_a_system_that_is_healthy_and_two_that_are_not(
    box: VmBox, dc: str, vmlinuz: Path, tmp_path: Path, began: float
) -> None:
    new = tiny_bundle(tmp_path / "new", box.build_key, vmlinuz, version=NEW, done=True)
    said = json.loads(box.vm("update", dc, new, "--json"))
    assert said == {"name": dc, "state": "running", "from": OLD, "to": NEW}
    box.hears(dc, f"guest ready: system {NEW[:13]}")
    evidence = {"vm": dc, "from": OLD, "to": NEW, "said": f"this is {NEW}", "well": ["tcp"]}
    assert _evidence(box, "vm.updated", began) == [evidence]
    with box.libvirt() as connection:
        (found,) = calls.survey(connection)
    assert found.recipe["bundle"] == str(new), "what it would be made again with"

    assert f"version {OLD}, the machine has {NEW} already" in box.vm(
        "update", dc, tmp_path / "old", fails=True
    )
    foreign = tmp_path / "foreign.key"
    signing.create(foreign)
    strange = tiny_bundle(tmp_path / "strange", foreign, vmlinuz, version=NEWER, done=True)
    assert "is not signed by a key that this box trusts" in box.vm("update", dc, strange, fails=True)
    short = tiny_bundle(tmp_path / "short", box.build_key, vmlinuz, version=NEWER, done=True)
    os.truncate(short / "system", 1000)
    assert "is not the file of" in box.vm("update", dc, short, fails=True)

    wrong = "the system disk cannot be read"
    broken = tiny_bundle(
        tmp_path / "broken", box.build_key, vmlinuz, version=NEWER, step="disks", text=wrong, error=wrong
    )
    assert f"dc runs version {NEW} again: {wrong}" in box.vm("update", dc, broken, fails=True)
    box.hears(dc, f"guest ready: system {NEW[:13]}")
    evidence = {"vm": dc, "step": "disks", "said": wrong, "to": NEW}
    assert _evidence(box, "vm.update_undone", began) == [evidence]
    assert box.states() == {dc: "running"}


def test_a_system_that_says_it_is_done_and_does_not_serve(
    box: VmBox, dc: str, service: socket.socket, vmlinuz: Path, tmp_path: Path, began: float
) -> None:
    new = tiny_bundle(tmp_path / "new", box.build_key, vmlinuz, version=NEW, done=True)
    updating = box.begin("update", dc, new)
    down = ("stop", "boot", "start")
    until(lambda: box.call("vm_updates").get(dc, {}).get("step") in down, "it shuts down")
    service.close()
    until(lambda: box.call("vm_updates").get(dc, {}).get("step") == "health", "it is up and does not serve")
    with box.libvirt() as connection:
        connection.lookupByName(dc).destroy()
    assert updating.wait() == 1
    box.hears(dc, f"guest ready: system {OLD[:13]}")
    (evidence,) = _evidence(box, "vm.update_undone", began)
    assert (evidence["step"], evidence["to"]) == ("start", OLD)
    assert "it has ended; tcp: " in str(evidence["said"])


def test_control_ends_before_a_new_system_has_proved_healthy(
    box: VmBox, dc: str, vmlinuz: Path, tmp_path: Path
) -> None:
    endless = tiny_bundle(tmp_path / "endless", box.build_key, vmlinuz, version=NEW, text="it starts")
    updating = box.begin("update", dc, endless)
    until(lambda: box.call("vm_updates").get(dc, {}).get("text") == "it starts", "the new system is booted")
    box.kill_control()
    assert updating.wait() == 1
    again = time.time()
    box.start_control()
    until(lambda: bool(_evidence(box, "vm.update_undone", again)), "the machine goes back")
    box.hears(dc, f"guest ready: system {OLD[:13]}")
    assert box.call("vm_updates") == {}


def test_a_backup_is_proved_with_the_system_that_it_was_taken_with(
    box: VmBox, dc: str, vmlinuz: Path, tmp_path: Path
) -> None:
    box.vm("backup", dc)
    new = tiny_bundle(tmp_path / "new", box.build_key, vmlinuz, version=NEW, done=True)
    box.vm("update", dc, new)
    box.vm("kill", dc)
    sign = f"guest ready: system {OLD[:13]}"
    try:
        assert sign in box.vm("verify", dc, "latest", "--boot", "--sign", sign)
        assert "`--stage FILE` makes it anew" in box.vm("restore", dc, "latest", fails=True)
    finally:
        shutil.rmtree(box.directory / "state" / "vm-backups")
