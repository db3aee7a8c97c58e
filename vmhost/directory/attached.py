"""What is asked of libvirtd about a directory's machine: its seed. As in `vmhost.calls`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vmhost import calls
from vmhost.domain import NAMESPACE, kept_recipe

_LIVE, _CONFIG = 1, 2  # VIR_DOMAIN_AFFECT_…


def detach(connection: Any, name: str, file: Path) -> None:
    """Take the disk that is kept in `file` from a machine, running or not, and from its recipe. The file stays."""
    import libvirt

    domain = connection.lookupByName(name)
    for flag in (_CONFIG, _LIVE):
        if flag == _LIVE and not domain.isActive():
            continue
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if flag == _CONFIG else 0)
        disk = _disk(xml, file)
        if disk is not None:
            domain.detachDeviceFlags(disk, flag)
    recipe = kept_recipe(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
    calls.keep(connection, name, disks=[one for one in recipe["disks"] if one["name"] != file.stem])


def is_attached(connection: Any, name: str, file: Path) -> bool:
    """Whether a machine still has that disk: a guest lets go of one when it gets round to it."""
    return _disk(connection.lookupByName(name).XMLDesc(), file) is not None


def _disk(xml: str, file: Path) -> str | None:
    for found in ElementTree.fromstring(xml).iter("disk"):
        source = found.find("source")
        if source is not None and source.get("file") == str(file):
            return ElementTree.tostring(found, encoding="unicode")
    return None
