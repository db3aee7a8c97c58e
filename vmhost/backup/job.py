"""libvirt's backup job: each function takes the connection, blocks, and runs in the thread of `Link`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vmhost.domain import agent_answers
from vmhost.printable import printable

FREEZE_S = 8
"""How long an agent may take to hold the guest's file systems still; others wait for libvirt meanwhile."""

_BACKUP = 9  # VIR_DOMAIN_JOB_OPERATION_BACKUP, which the Python binding lacks in places
_COMPLETED = 3  # VIR_DOMAIN_JOB_COMPLETED


@dataclass(frozen=True)
class Seen:
    """What only libvirt knows of a machine."""

    uuid: str
    macs: tuple[str, ...]
    disks: Mapping[str, str]
    """The file of each, by its name in the guest ("vda")."""
    boot: Mapping[str, str]
    """The files of a system that is booted directly: "kernel" and "initrd"."""
    xml: str


@dataclass(frozen=True)
class Progress:
    """Of a job: it runs and `part` of it is done, or it has ended, well unless there is a `trouble`."""

    runs: bool
    part: float
    trouble: str = ""


def seen(connection: Any, name: str) -> Seen:
    """A machine's identity."""
    import libvirt

    xml = connection.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    root = ElementTree.fromstring(xml)
    macs = tuple(mac.get("address", "") for mac in root.iterfind("devices/interface/mac"))
    disks = {
        target.get("dev", ""): source.get("file", "")
        for disk in root.iterfind("devices/disk[@type='file'][@device='disk']")
        if (target := disk.find("target")) is not None and (source := disk.find("source")) is not None
    }
    boot = {tag: text for tag in ("kernel", "initrd") if (text := root.findtext(f"os/{tag}"))}
    return Seen(root.findtext("uuid", ""), macs, disks, boot, xml)


def request(targets: Mapping[str, Path]) -> str:
    """What libvirt is asked for: a full copy of each disk, by its target ("vda"), at one point in time."""
    root = ElementTree.Element("domainbackup", mode="push")
    disks = ElementTree.SubElement(root, "disks")
    for target, file in targets.items():
        disk = ElementTree.SubElement(disks, "disk", name=target, type="file", backup="yes")
        ElementTree.SubElement(disk, "driver", type="qcow2")
        ElementTree.SubElement(disk, "target", file=str(file))
    return ElementTree.tostring(root, encoding="unicode")


def begin(connection: Any, name: str, xml: str, frozen: Path) -> str:
    """Begin, with the guest's file systems frozen while the point in time is made.

    Why they were not, or empty. The file `frozen` is there as long as they may be: see `thaw`.
    """
    import libvirt

    domain = connection.lookupByName(name)
    with contextlib.suppress(libvirt.libvirtError):
        domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)  # what is read once is forgotten
    why = ""
    frozen.touch()
    try:
        domain.agentSetResponseTimeout(FREEZE_S)
        domain.fsFreeze()
    except libvirt.libvirtError as error:
        why = str(error)
    try:
        domain.backupBegin(xml, None, 0)
    finally:
        thaw(connection, name, frozen)
    return why


def thaw(connection: Any, name: str, frozen: Path) -> bool:
    """Let the guest's file systems go, if the file `frozen` is there; it is gone when that is sure.

    False if it is not: to be tried again. One whose agent does not answer has frozen nothing, or will answer later.
    """
    import libvirt

    if not frozen.exists():
        return True
    try:
        domain = connection.lookupByName(name)
        if domain.isActive() and agent_answers(domain.XMLDesc()):
            domain.agentSetResponseTimeout(FREEZE_S)
            domain.fsThaw()
    except libvirt.libvirtError:
        return False
    frozen.unlink(missing_ok=True)
    return True


def progress(connection: Any, name: str) -> Progress:
    """Of the backup of a machine."""
    import libvirt

    domain = connection.lookupByName(name)
    try:
        stats = domain.jobStats()
        if stats.get("operation") == _BACKUP:
            total = stats.get("disk_total", 0)
            return Progress(True, stats.get("disk_processed", 0) / total if total else 0.0)
        flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
        stats = domain.jobStats(flags)
    except libvirt.libvirtError as error:
        return Progress(False, 0.0, str(error))
    if stats.get("operation") != _BACKUP:
        return Progress(False, 0.0, "the backup is not going on, and nobody knows how it ended")
    if stats.get("type") == _COMPLETED and stats.get("success", True):
        return Progress(False, 1.0)
    return Progress(False, 0.0, stats.get("errmsg", "libvirt's backup job has failed or was cancelled"))


def start_twin(connection: Any, xml: str) -> None:
    """Start a machine that is not defined, paused: it ends with our connection."""
    import libvirt

    connection.createXML(xml, libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_PAUSED)


def resume(connection: Any, name: str) -> None:
    """Let a paused machine run."""
    connection.lookupByName(name).resume()


def agent_says(connection: Any, name: str) -> str:
    """What the guest calls itself; empty if it has no agent yet. libvirtError if it does not run."""
    import libvirt

    domain = connection.lookupByName(name)
    if not agent_answers(domain.XMLDesc()):
        return ""
    try:
        domain.agentSetResponseTimeout(FREEZE_S)
        return printable(domain.hostname(libvirt.VIR_DOMAIN_GET_HOSTNAME_AGENT))
    except libvirt.libvirtError:
        return ""


def cancel(connection: Any, name: str) -> None:
    """Give a backup up."""
    connection.lookupByName(name).abortJob()
