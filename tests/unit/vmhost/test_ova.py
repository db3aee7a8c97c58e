"""An OVA from anywhere: a machine comes out of a good one, and nothing at all of any other."""

import tarfile
from pathlib import Path

import pytest

from tests.unit.vmhost.archive import DISK, OVF, manifest
from tests.unit.vmhost.archive import ova as make
from vmhost.errors import VmError
from vmhost.ova import Contents, unpack
from vmhost.recipe import parse

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Envelope>&b;</Envelope>'


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


def test_one_without_a_manifest_is_not_verified(tmp_path: Path) -> None:
    assert not _unpack(make(tmp_path, {"dc.ovf": OVF.encode(), "dc.vmdk": DISK})).verified


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
