"""OVAs as somebody's hypervisor makes them, and as nobody should."""

import hashlib
import io
import tarfile
from pathlib import Path

OVF = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:r="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
  <References><File ovf:href="dc.vmdk" ovf:id="f1"/></References>
  <DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="1"/></DiskSection>
  <VirtualSystem ovf:id="DC 01 (Zürich)">
    <VirtualHardwareSection>
      <Item><r:ElementName>2 CPU</r:ElementName><r:ResourceType>3</r:ResourceType>
        <r:VirtualQuantity>2</r:VirtualQuantity></Item>
      <Item><r:AllocationUnits>byte * 2^20</r:AllocationUnits><r:ElementName>memory</r:ElementName>
        <r:ResourceType>4</r:ResourceType><r:VirtualQuantity>2048</r:VirtualQuantity></Item>
      <Item><r:ElementName>SCSI</r:ElementName><r:ResourceType>6</r:ResourceType></Item>
      <Item><r:ElementName>Hard disk 1</r:ElementName><r:HostResource>ovf:/disk/d1</r:HostResource>
        <r:ResourceType>17</r:ResourceType></Item>
      <Item><r:ElementName>Network 1</r:ElementName><r:ResourceType>10</r:ResourceType></Item>
      <Item><r:ElementName>Sound</r:ElementName><r:ResourceType>1</r:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>"""
DISK = b"disk" * 1000


def manifest(ovf: str = OVF, disk: bytes = DISK, kind: str = "SHA256") -> bytes:
    """Of a description and a disk."""
    sums = {"dc.ovf": ovf.encode(), "dc.vmdk": disk}
    return "".join(
        f"{kind}({name})= {hashlib.new(kind, data).hexdigest()}\n" for name, data in sums.items()
    ).encode()


def ova(directory: Path, files: dict[str, bytes], *, link: str = "") -> Path:
    """A tar file of these files, and of a symbolic link."""
    path = directory / "dc.ova"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo("other.vmdk")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return path
