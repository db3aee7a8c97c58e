"""An OVA from anywhere: a machine comes out of a good one, and nothing at all of any other."""

import gzip
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.vmhost.archive import DISK, OVF, manifest
from tests.unit.vmhost.archive import ova as make
from vmhost.errors import VmError
from vmhost.images import RESERVE
from vmhost.ova import Contents, unpack
from vmhost.recipe import parse

SECURE = '"bootOptions.efiSecureBootEnabled" o:value="true"'
BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Envelope>&b;</Envelope>'


def _compressed(how: str) -> bytes:
    return OVF.replace('ovf:id="f1"', f'ovf:id="f1" ovf:compression="{how}"').encode()


def _unpack(ova: Path) -> Contents:
    return unpack(ova, ova.parent / "made", lambda _: None)


@pytest.mark.parametrize("kind", ["SHA1", "SHA256", "SHA512"])
def test_a_good_one(tmp_path: Path, kind: str) -> None:
    files = {"dc.ovf": OVF.encode(), "dc.mf": manifest(kind=kind), "dc.vmdk": DISK}
    contents = _unpack(make(tmp_path, files))
    assert contents.verified
    assert contents.unmapped == ("Sound",)
    recipe = parse(contents.recipe.read_text(), str(contents.recipe))
    assert (recipe.name, recipe.vcpus, recipe.memory) == ("dc-01-z-rich", 2, 2**31)
    assert recipe.disks[0].image == str(tmp_path / "made" / "dc.vmdk")
    assert Path(recipe.disks[0].image).read_bytes() == DISK
    assert '# bridge = "' in contents.recipe.read_text()
    with pytest.raises(VmError, match="is there already"):
        _unpack(tmp_path / "dc.ova")


@pytest.mark.parametrize(
    ("system", "setting", "kind", "firmware"),
    [
        ('vmw:osType="windows2019srv_64Guest"', '"firmware" o:value="efi"', "windows", "uefi"),
        ('vmw:osType="windows9_64Guest"', SECURE, "windows", "secure-boot"),
        ('vmw:osType="debian12_64Guest"', '"firmware" o:value="efi"', "plain", "uefi"),
        ('vmw:osType="darwin22_64Guest"', '"firmware" o:value="bios"', "plain", None),
    ],
)
def test_what_it_was(tmp_path: Path, system: str, setting: str, kind: str, firmware: str | None) -> None:
    """Windows may have no drivers for virtio; and what booted the disk has to boot it again."""
    space = 'xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:o="http://schemas.dmtf.org/ovf/envelope/1"'
    described = OVF.replace(
        "<VirtualHardwareSection>",
        f"<OperatingSystemSection {space} {system}/><VirtualHardwareSection>"
        f"<vmw:Config {space} o:key={setting}/>",
    )
    recipe = _unpack(make(tmp_path, {"dc.ovf": described.encode(), "dc.vmdk": DISK})).recipe
    made = parse(recipe.read_text(), str(recipe))
    assert (made.kind, made.firmware) == (kind, firmware)
    assert made.devices == ("standard" if kind == "windows" else "virtio")


def test_one_without_a_manifest_is_not_verified(tmp_path: Path) -> None:
    assert not _unpack(make(tmp_path, {"dc.ovf": OVF.encode(), "dc.vmdk": DISK})).verified


def test_a_compressed_disk_is_unpacked(tmp_path: Path) -> None:
    """Two members, as `cat` of two files makes them; the manifest vouches for what is in the OVA."""
    packed = gzip.compress(DISK[:1000]) + gzip.compress(DISK[1000:])
    description = _compressed("gzip").decode()
    files = {"dc.ovf": description.encode(), "dc.mf": manifest(description, packed), "dc.vmdk": packed}
    contents = _unpack(make(tmp_path, files))
    assert contents.verified
    assert (tmp_path / "made" / "dc.vmdk").read_bytes() == DISK


def test_a_compressed_disk_fills_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight MiB of zeros take eight KiB in the OVA."""
    monkeypatch.setattr("vmhost.ova.disk_left", lambda _: RESERVE + 4 * 2**20)
    ova = make(tmp_path, {"dc.ovf": _compressed("gzip"), "dc.vmdk": gzip.compress(bytes(8 * 2**20))})
    with pytest.raises(VmError, match="do not fit, there is room for 4 MiB"):
        _unpack(ova)
    assert list(tmp_path.iterdir()) == [ova]


def test_several_disks_and_a_name_with_odd_characters(tmp_path: Path) -> None:
    odd = 'a "b",c\\dü%20.vmdk'
    described = (
        OVF.replace("<DiskSection>", '<DiskSection><Disk ovf:diskId="d2" ovf:fileRef="f2"/>')
        .replace(
            "</References>", '<File ovf:href="a%20%22b%22,c%5Cd%C3%BC%2520.vmdk" ovf:id="f2"/></References>'
        )
        .replace("<Item><r:ElementName>Network", f"{_DISK_ITEM}<Item><r:ElementName>Network")
    )
    contents = _unpack(make(tmp_path, {"dc.ovf": described.encode(), "dc.vmdk": DISK, odd: b"2"}))
    recipe = parse(contents.recipe.read_text(), str(contents.recipe))
    assert [Path(disk.image).name for disk in recipe.disks] == ["dc.vmdk", odd]
    assert (tmp_path / "made" / odd).read_bytes() == b"2"


_DISK_ITEM = (
    "<Item><r:ElementName>Hard disk 2</r:ElementName><r:HostResource>ovf:/disk/d2</r:HostResource>"
    "<r:ResourceType>17</r:ResourceType></Item>"
)


def test_a_description_with_its_files_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    folder.mkdir()
    for name, data in {
        "dc.ovf": OVF.encode(),
        "dc.mf": manifest(),
        "dc.vmdk": DISK,
        "other.ovf": b"",
    }.items():
        (folder / name).write_bytes(data)
    contents = unpack(folder / "dc.ovf", tmp_path / "made", lambda _: None)
    assert contents.verified
    assert (tmp_path / "made" / "dc.vmdk").read_bytes() == DISK
    shutil.rmtree(tmp_path / "made")
    (folder / "dc.vmdk").unlink()
    (folder / "dc.vmdk").symlink_to("/etc/shadow")
    with pytest.raises(VmError, match=r"'dc.vmdk' is not in it"):
        unpack(folder / "dc.ovf", tmp_path / "made", lambda _: None)
    assert list(tmp_path.iterdir()) == [folder]


class _CutOff(BaseException):
    """As a kill would."""


def test_a_copy_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """What is there is kept where it is right, and mended where it is not."""
    disk = bytes(range(256)) * 2**13
    ova = make(tmp_path, {"dc.ovf": OVF.encode(), "dc.mf": manifest(disk=disk), "dc.vmdk": disk})

    def killed(part: float) -> None:
        if part > 0.9:
            raise _CutOff

    with pytest.raises(_CutOff):
        unpack(ova, tmp_path / "made", killed)
    half = tmp_path / "made.part" / "dc.vmdk"
    assert half.stat().st_size == 2**20
    inode = half.stat().st_ino
    with half.open("r+b") as file:
        file.write(b"not this")
    (half.parent / "of-another.vmdk").write_bytes(b"")
    _unpack(ova)
    assert (tmp_path / "made" / "dc.vmdk").read_bytes() == disk
    assert (tmp_path / "made" / "dc.vmdk").stat().st_ino == inode
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "dc-01-z-rich.toml",
        "dc.ovf",
        "dc.vmdk",
    ]


def _pax_bomb(size: int) -> bytes:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, size
    return header.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda path: path.write_bytes(_pax_bomb(2**32)), "a header in it that is no header"),
        (lambda path: path.write_bytes(_pax_bomb(0) * 5000), "is no OVA"),
        (lambda path: path.write_bytes(gzip.compress(b"a tar")), "compressed as a whole; `gunzip` it"),
        (lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd"), "`zstd -d` it"),
        (lambda path: path.write_bytes(b""), "no OVA|0 descriptions"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda _: None, "No such file"),
    ],
)
def test_what_is_no_tar(tmp_path: Path, make_it: Callable[[Path], object], said: str) -> None:
    ova = tmp_path / "dc.ova"
    make_it(ova)
    before = list(tmp_path.iterdir())
    with pytest.raises(VmError, match=said):
        _unpack(ova)
    assert list(tmp_path.iterdir()) == before


GOOD = {"dc.ovf": OVF.encode(), "dc.vmdk": DISK}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({**GOOD, "../../etc/cron.d/x": b"x"}, "not a plain file"),
        ({**GOOD, "/etc/passwd": b"x"}, "not a plain file"),
        ({**GOOD, "dc.mf": manifest(disk=b"other")}, "'dc.vmdk' is not what the manifest vouches for"),
        ({**GOOD, "dc.mf": manifest(ovf="other")}, "'dc.ovf' is not what"),
        ({**GOOD, "dc.mf": manifest().splitlines()[0]}, "does not vouch for 'dc.vmdk'"),
        ({**GOOD, "dc.mf": b"SHA256(dc.ovf)=\nSHA256(dc.vmdk)=\n"}, "is not what"),
        ({**GOOD, "dc.mf": b"MD5(dc.ovf)= 0\n"}, "a line that is none"),
        ({**GOOD, "b.ovf": b""}, "there are 2 descriptions"),
        ({"dc.vmdk": DISK}, "there are 0 descriptions"),
        ({"dc.ovf": OVF.encode()}, "'dc.vmdk' is not in it"),
        ({"dc.ovf": BOMB.encode()}, "declares a document type"),
        ({"dc.ovf": b"<Envelope"}, "is no XML"),
        ({"dc.ovf": b"<html/>"}, "is no OVF envelope"),
        ({"dc.ovf": bytes(2**20 + 1)}, "is larger than"),
        ({"dc.ovf": OVF.replace("2048", "-1").encode(), "dc.vmdk": DISK}, "is not an amount"),
        ({"dc.ovf": OVF.replace("2^20", "2^99").encode(), "dc.vmdk": DISK}, "which is not known"),
        ({"dc.ovf": OVF.replace("VirtualSystem", "X").encode(), "dc.vmdk": DISK}, "there are 0 machines"),
        ({str(number): b"" for number in range(65)}, "more than 64 files"),
        ({**GOOD, "odd\nname": b""}, "not a plain file"),
        ({**GOOD, "x.ovf": b""}, "there are 2 descriptions"),
        ({**GOOD, "dc.mf": b"SHA256(dc.ovf)= \xff\n" * 2}, "does not vouch for 'dc.vmdk'"),
        (
            {"dc.ovf": OVF.replace('capacity="1"', 'capacity="10995116277760"').encode()},
            "a disk of more than",
        ),
        (
            {
                "dc.ovf": OVF.replace(
                    'capacity="1"', 'capacity="9" ovf:capacityAllocationUnits="byte * 2^40"'
                ).encode()
            },
            "a disk of more than",
        ),
        ({"dc.ovf": OVF.replace("dc.vmdk", "http://elsewhere/dc.vmdk").encode()}, "is not in it"),
        ({"dc.ovf": OVF.replace("dc.vmdk", "../dc.vmdk").encode(), "dc.vmdk": DISK}, "is not in it"),
        ({"dc.ovf": _compressed("zstd"), "dc.vmdk": DISK}, "in a way that is not known"),
        ({"dc.ovf": _compressed("gzip"), "dc.vmdk": DISK}, "is no OVA"),
        ({"dc.ovf": _compressed("gzip"), "dc.vmdk": gzip.compress(DISK)[:-9]}, "is cut off"),
        ({"dc.ovf": b"<a>" * 300_000}, "is no XML"),
    ],
)
def test_a_bad_one_leaves_nothing(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    ova = make(tmp_path, files)
    with pytest.raises(VmError, match=said):
        _unpack(ova)
    assert list(tmp_path.iterdir()) == [ova]


def test_a_link_and_a_file_that_is_cut_off(tmp_path: Path) -> None:
    ova = make(tmp_path, GOOD, link="/etc/shadow")
    with pytest.raises(VmError, match="not a plain file"):
        _unpack(ova)
    ova = make(tmp_path, {"dc.ovf": OVF.encode(), "dc.vmdk": DISK * 100})
    with ova.open("r+b") as file:
        file.truncate(2**17)
    with pytest.raises(VmError, match="is no OVA"):
        _unpack(ova)
    ova.write_bytes(bytes(3000))
    with pytest.raises(VmError, match=r"0 descriptions|no OVA"):
        _unpack(ova)
    assert list(tmp_path.iterdir()) == [ova]


def test_a_disk_that_does_not_fit_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    ova = tmp_path / "dc.ova"
    member = tarfile.TarInfo("dc.vmdk")
    member.size = 10 * 2**40
    description = tarfile.TarInfo("dc.ovf")
    description.size = len(OVF.encode())
    with ova.open("wb") as file:
        file.write(description.tobuf(tarfile.GNU_FORMAT))
        file.write(OVF.encode().ljust(-(-description.size // 512) * 512, b"\0"))
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + member.size)
    with pytest.raises(VmError, match=r"its disks take 1.02e\+04 GiB, there is room for"):
        _unpack(ova)
    assert list(tmp_path.iterdir()) == [ova]
