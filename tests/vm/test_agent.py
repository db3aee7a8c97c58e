"""The agent in a guest: what it says, what it does, and what comes of one that hangs."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.box import VmBox, until


@pytest.fixture
def agile(box: VmBox, image_with_agent: Path, tmp_path: Path) -> Iterator[str]:
    """The name of a machine that runs with a guest agent."""
    data = tmp_path / "data.img"
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", data, "16M"], check=True)
    box.vm("create", box.recipe("agile", image_with_agent, second=data, stop_within="60s"))
    try:
        yield "agile"
    finally:
        box.vm("kill", "agile")
        box.vm("delete", "agile", "--disks", "--yes")


def _told(box: VmBox) -> dict[str, Any]:
    guest: dict[str, Any] = box.call("vm_show", name="agile")["guest"]
    return guest


def _stand_still(box: VmBox) -> None:
    with box.libvirt() as connection:
        domain = connection.lookupByName("agile")
        domain.suspend()
        domain.resume()


def test_what_a_guest_says_and_does(box: VmBox, agile: str, began: float) -> None:
    until(lambda: _told(box)["agent"] == "answers", "its agent answers")
    said = _told(box)
    assert (said["os"], said["host"]) == ("Tiny [2J Linux", "tiny")
    assert "10.1.0.77/16" in said["addresses"]
    (mounted,) = [one for one in said["file_systems"] if one["at"] == "/mnt"]
    assert mounted["kind"] == "ext4"
    assert 0 < mounted["used"] < mounted["size"] < 16 * 2**20
    assert "10.1.0.77/16  Tiny [2J Linux" in box.vm("list")
    assert "/mnt (ext4), " in box.vm("show", agile)

    box.hears(agile, "guest is late", "late\n")
    _stand_still(box)
    until(lambda: "vm.clock_set" in box.kinds(began), "its clock is set")
    with box.libvirt() as connection:
        assert abs(connection.lookupByName(agile).getTime()["seconds"] - time.time()) < 30

    box.hears(agile, "guest hangs", "hang\n")
    _stand_still(box)
    until(lambda: _told(box)["agent"] == "silent", "its agent does not answer")
    box.hears(agile, "guest is awake", "wake\n")
    _stand_still(box)
    until(lambda: _told(box)["agent"] == "answers", "its agent answers again")

    box.hears(agile, "guest is deaf", "deaf\n")
    assert box.vm("stop", agile) == "agile: off\n"
    assert json.loads(box.vm("show", agile, "--json"))["guest"] is None
    assert box.kinds(began).count("vm.agent") == 1
