"""Which backups are kept, what one says of itself, and what its twin is."""

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vmhost.test_recipe import GOOD
from vmhost.backup.isolated import isolated
from vmhost.backup.manifest import Copied, Manifest, Proof, decode, encode
from vmhost.backup.retention import RETRY_S, Kept, due, surplus
from vmhost.backup.shelf import Shelf, measure, read, wrong
from vmhost.domain import domain_xml
from vmhost.errors import VmError
from vmhost.recipe import parse, to_dict


@given(st.lists(st.sampled_from([None, True, False]), max_size=12), st.integers(1, 12))
def test_what_is_kept(proofs: list[bool | None], keep: int) -> None:
    backups = [Kept(f"{at:02}", proved) for at, proved in enumerate(proofs)]
    gone = set(surplus(backups, keep))
    stay = [one for one in backups if one.stamp not in gone]
    assert {one.stamp for one in backups[-keep:]} <= {one.stamp for one in stay}
    assert len(stay) <= keep + 2
    for good in (True, None):
        if any(one.proved is good for one in backups):
            assert any(one.proved in (True, good) for one in stay)


def test_when_the_next_is_due() -> None:
    assert due(86400, None, None) == 0
    assert due(86400, 1000, None) == 87400
    assert due(86400, 1000, 90000) == 90000 + RETRY_S
    assert due(600, None, 90000) == 90600


def _manifest(**changes: Any) -> Manifest:
    whole = Manifest(
        name="directory",
        taken=1.0,
        recipe=to_dict(parse(GOOD, "/directory.toml")),
        uuid="u",
        macs=["52:54:00:ab:cd:ef"],
        consistency="frozen",
        why="",
        disks={"vda": Copied("system.qcow2", 4, "0" * 64)},
        xml="<domain/>",
    )
    return msgspec.structs.replace(whole, **changes)


def test_a_manifest_is_read_back() -> None:
    proved = _manifest(proofs=[Proof(2.0, False, "no sign of life")])
    assert decode(encode(proved)) == proved


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{}",
        encode(_manifest(format=2)),
        encode(_manifest(disks={"vda": Copied("../../etc/shadow", 1, "")})),
        encode(_manifest(disks={"vda": Copied(".hidden", 1, "")})),
        encode(_manifest(archives=[Copied("system.qcow2", 1, "")])),
    ],
)
def test_a_manifest_that_is_none(broken: bytes) -> None:
    with pytest.raises(VmError, match=r"manifest\.json"):
        decode(broken)


def test_a_shelf(tmp_path: Path) -> None:
    """A backup is there when it is finished; a crash leaves nothing that is taken for one."""
    shelf = Shelf(tmp_path / "shelf")
    stamp = shelf.begin("directory", 1e9)
    assert stamp == "20010909T014640Z"
    assert shelf.begin("directory", 1e9) != stamp
    disk = shelf.part("directory", stamp) / "system.qcow2"
    disk.write_bytes(b"disk")
    copied = measure(disk, lambda _: None)
    assert shelf.stamps("directory") == []
    path = shelf.finish(stamp, _manifest(disks={"vda": copied}))
    assert (shelf.names(), shelf.stamps("directory")) == (["directory"], [stamp])
    assert wrong(path, read(path), lambda _: None) == ""
    shelf.add_proof("directory", stamp, Proof(1.0, True, "login:"))
    assert read(path).proofs[0].good
    for spoil, said in ((lambda f: f.write_bytes(b"disc"), "has changed"), (os.unlink, "is missing")):
        spoil(path / "system.qcow2")
        assert said in wrong(path, read(path), lambda _: None)
    (path / "system.qcow2").symlink_to("/dev/zero")
    assert "is missing" in wrong(path, read(path), lambda _: None)
    shelf.drop("directory", stamp)
    shelf.sweep("directory")
    assert list((tmp_path / "shelf" / "directory").iterdir()) == []


def test_a_twin_meets_nobody() -> None:
    xml = domain_xml(
        parse(GOOD, "/directory.toml"), "kvm", Path("/vm"), "00000000-0000-0000-0000-000000000001"
    )
    shared = "<devices><hostdev/><filesystem/><graphics type='vnc'/><disk type='file' device='cdrom'/>"
    twin = isolated(
        xml.replace("<devices>", shared),
        "directory.proof",
        {"vda": Path("/proof/a"), "vdb": Path("/proof/b")},
        {"kernel": Path("/proof/kernel")},
        "qemu",
        Path("/proof/variables"),
    )
    root = ElementTree.fromstring(twin)
    assert (root.findtext("name"), root.get("type")) == ("directory.proof", "qemu")
    assert [root.find(tag) for tag in ("uuid", "genid", "metadata")] == [None] * 3
    assert [source.get("file") for source in root.iterfind("devices/disk/source")] == ["/proof/a", "/proof/b"]
    (card,) = root.iterfind("devices/interface")
    assert card.get("type") == "user"
    assert [(part.tag, *part.attrib.values()) for part in card] == [
        ("mac", "52:54:00:ab:cd:ef"),
        ("model", "virtio"),
        ("link", "down"),
        ("rom", "no"),
    ]
    assert not {"hostdev", "filesystem", "graphics"} & {device.tag for device in root.iterfind("devices/*")}
    assert root.findtext("os/kernel") == "/proof/kernel"
    assert root.find("os/nvram") is None
    assert "/vm" not in twin


def test_a_twin_takes_over_nothing_that_could_harm() -> None:
    """Whoever can write to where the backups are does not get at the host."""
    xml = """<domain xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0" type="kvm"><name>a</name>
        <os firmware="efi"><type arch="aarch64" machine="virt">hvm</type><boot dev="hd"/>
        <loader>/harm</loader><nvram template="/harm"/><dtb>/harm</dtb><initrd>/harm</initrd>
        <acpi><table type="slic">/harm</table></acpi></os>
        <sysinfo type="fwcfg"><entry name="opt/a" file="/harm"/></sysinfo>
        <qemu:commandline><qemu:arg value="/harm"/></qemu:commandline>
        <devices><emulator>/harm</emulator>
        <disk type="block" device="disk"><source dev="/harm"><slices/></source><target dev="vda"/></disk>
        <input type="evdev"><source dev="/harm"/></input>
        <serial type="file"><source path="/harm"/><log file="/harm"/><target port="0"/></serial>
        <rng model="virtio"><backend model="random">/harm</backend></rng>
        </devices></domain>"""
    twin = isolated(xml, "a.proof", {"vda": Path("/proof/a")}, {}, "qemu", Path("/proof/variables"))
    assert "harm" not in twin
    root = ElementTree.fromstring(twin)
    (disk,) = root.iterfind("devices/disk")
    assert (disk.get("type"), [(part.tag, part.attrib) for part in disk.iterfind("source")]) == (
        "file",
        [("source", {"file": "/proof/a"})],
    )
    assert [part.tag for part in root.iterfind("os/*")] == ["type", "boot", "nvram"]
    assert root.findtext("os/nvram") == "/proof/variables"
    assert root.findtext("devices/rng/backend") == "/dev/urandom"


def test_a_twin_does_not_boot_what_the_host_has() -> None:
    xml = "<domain><os><type>hvm</type><kernel>/etc/shadow</kernel></os><devices/></domain>"
    with pytest.raises(VmError, match="not in the backup"):
        isolated(xml, "a.proof", {}, {}, "qemu", Path("/proof/variables"))


@pytest.mark.parametrize(
    "xml",
    ["", "<domain", "<domain><devices><disk device='disk'><target dev='vdb'/></disk></devices></domain>"],
)
def test_a_twin_of_no_machine(xml: str) -> None:
    with pytest.raises(VmError):
        isolated(xml, "a.proof", {"vda": Path("/proof/a")}, {}, "qemu", Path("/proof/variables"))
