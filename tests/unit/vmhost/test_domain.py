"""What libvirt is told of a machine."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.vmhost.test_recipe import GOOD
from vmhost.domain import (
    NAMESPACE,
    Accelerator,
    Boot,
    agent_answers,
    console_device,
    display_socket,
    domain_xml,
    kept_recipe,
    kernel,
    status_socket,
    switched,
)
from vmhost.recipe import parse, to_dict


def test_an_emulated_machine_of_this_architecture() -> None:
    recipe = parse(GOOD, "/directory.toml")
    root = ElementTree.fromstring(domain_xml(recipe, "tcg", Path("/vm/<&>")))
    assert root.get("type") == "qemu"
    assert (root.findtext("name"), root.findtext("memory"), root.findtext("vcpu")) == (
        "directory",
        str(2**30),
        "2",
    )
    assert [disk.get("file") for disk in root.iterfind("devices/disk/source")] == [
        "/vm/<&>/system.qcow2",
        "/vm/<&>/data.qcow2",
    ]
    assert [target.get("dev") for target in root.iterfind("devices/disk/target")] == ["vda", "vdb"]
    buses = {target.get("bus") for target in root.iterfind("devices/disk/target")}
    models = {model.get("type") for model in root.iterfind("devices/interface/model")}
    assert buses == models == {"virtio"}
    limits = [
        (one.findtext("total_bytes_sec"), one.findtext("group_name")) for one in root.iterfind(".//iotune")
    ]
    assert limits == [(str(100 * 2**20), "disks")] * 2
    kept = root.find(f"metadata/{{{NAMESPACE}}}recipe")
    assert kept is not None
    assert kept_recipe(ElementTree.tostring(kept, encoding="unicode")) == to_dict(recipe)


def test_arm64_boots_by_uefi() -> None:
    recipe = parse(GOOD.replace("vcpus = 2", 'arch = "arm64"'), "/directory.toml")
    root = ElementTree.fromstring(domain_xml(recipe, "kvm", Path("/vm")))
    kind, system = root.find("os/type"), root.find("os")
    assert kind is not None
    assert system is not None
    assert (root.get("type"), kind.get("arch"), kind.get("machine")) == ("kvm", "aarch64", "virt")
    assert system.get("firmware") == "efi"


@pytest.mark.parametrize("arch", ["x86-64", "arm64"])
def test_a_machine_that_boots_a_slot(arch: str) -> None:
    recipe = parse(GOOD.replace("vcpus = 2", f'arch = "{arch}"'), "/directory.toml")
    xml = domain_xml(recipe, "tcg", Path("/vm"), boot=Boot(Path("/vm/slot-a"), "quiet"))
    for slot in ("a", "b", "a"):
        xml = switched(xml, Boot(Path(f"/vm/slot-{slot}"), f"quiet {slot}"))
        root = ElementTree.fromstring(xml)
        system = root.find("os")
        assert system is not None
        assert system.get("firmware") is None
        assert system.find("boot") is None
        assert (root.find("features/acpi") is None) == (arch == "arm64")  # there it is UEFI's
        assert kernel(xml) == f"/vm/slot-{slot}/vmlinuz"
        assert root.findtext("os/initrd") == f"/vm/slot-{slot}/initrd"
        assert root.findtext("os/cmdline") == f"quiet {slot}"
        disks = root.findall("devices/disk")
        assert [one.find("source").get("file") for one in disks] == [  # type: ignore[union-attr]
            "/vm/system.qcow2",
            "/vm/data.qcow2",
            f"/vm/slot-{slot}/system",
        ]
        assert [one.find("readonly") is not None for one in disks] == [False, False, True]
        assert len({one.find("target").get("dev") for one in disks}) == 3  # type: ignore[union-attr]


def test_where_a_machine_says_how_far_it_is() -> None:
    channel = "<channel><source path='{}'/><target name='{}'/></channel>"
    two = channel.format("/a", "org.qemu.guest_agent.0") + channel.format("/b", "org.branchline.status.0")
    assert status_socket(f"<domain><devices>{two}</devices></domain>") == "/b"
    off = "<channel><target name='org.branchline.status.0'/></channel>"
    assert status_socket(f"<domain><devices>{off}</devices></domain>") is None


def test_where_the_console_is() -> None:
    assert console_device("<domain><devices><console tty='/dev/pts/3'/></devices></domain>") == "/dev/pts/3"
    assert console_device("<domain><devices><console type='pty'/></devices></domain>") is None


def test_a_display_is_on_a_socket_and_only_where_it_is_asked_for() -> None:
    for text, shown in ((GOOD, []), (GOOD.replace("vcpus = 2", "display = true"), ["socket"])):
        root = ElementTree.fromstring(domain_xml(parse(text, "/directory.toml"), "kvm", Path("/vm")))
        assert [listen.get("type") for listen in root.iterfind("devices/graphics/listen")] == shown
        assert len(root.findall("devices/video")) == len(shown)
    live = "<domain><devices><graphics><listen type='socket' socket='/run/x'/></graphics></devices></domain>"
    assert display_socket(live) == "/run/x"
    assert display_socket("<domain/>") is None


def test_whether_the_agent_answers() -> None:
    live = (
        "<domain><devices><channel><target type='virtio' name='org.qemu.guest_agent.0' state='{}'/>"
        "</channel></devices></domain>"
    )
    assert agent_answers(live.format("connected"))
    assert not agent_answers(live.format("disconnected"))
    assert not agent_answers("<domain/>")


def test_a_guest_without_drivers_has_devices_that_it_knows() -> None:
    recipe = parse(GOOD.replace("vcpus = 2", 'devices = "standard"'), "/directory.toml")
    root = ElementTree.fromstring(domain_xml(recipe, "tcg", Path("/vm")))
    targets = root.findall("devices/disk/target")
    assert [(one.get("dev"), one.get("bus")) for one in targets] == [("sda", "sata"), ("sdb", "sata")]
    assert [one.get("type") for one in root.iterfind("devices/interface/model")] == ["e1000e"]


@pytest.mark.parametrize(("accelerator", "interfaces"), [("kvm", 1), ("tcg", 0)])
def test_what_windows_wants(accelerator: Accelerator, interfaces: int) -> None:
    text = GOOD.replace("vcpus = 2", 'kind = "windows"\nfirmware = "secure-boot"')
    root = ElementTree.fromstring(domain_xml(parse(text, "/directory.toml"), accelerator, Path("/vm")))
    clock, smm = root.find("clock"), root.find("features/smm")
    assert clock is not None
    assert smm is not None
    assert (clock.get("offset"), smm.get("state")) == ("localtime", "on")
    assert len(root.findall("features/hyperv")) == interfaces
    assert {one.get("enabled") for one in root.iterfind("os/firmware/feature")} == {"yes"}
