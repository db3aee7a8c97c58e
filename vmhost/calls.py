"""What is asked of libvirtd: each function takes the connection, blocks, and runs in the thread of `Link`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from vmhost.domain import (
    NAMESPACE,
    Boot,
    agent_answers,
    console_device,
    display_socket,
    kept_recipe,
    kernel,
    status_socket,
    switched,
)
from vmhost.errors import VmError

ENDED_ORDERLY, ENDED_BY_FORCE, ENDED_CRASHED, ENDED_SAVED, ENDED_FAILED = 0, 1, 2, 4, 5
"""Details of the event `STOPPED` (virDomainEventStoppedDetailType)."""
STARTED, SUSPENDED, RESUMED, STOPPED = 2, 3, 4, 5
"""Lifecycle events (virDomainEventType)."""
STARTED_BOOTED = 0
"""Detail of the event `STARTED`: not from a memory that was saved."""

_STATES = {1: "running", 2: "running", 3: "paused", 4: "stopping", 5: "off", 6: "crashed", 7: "asleep"}
_STANDS = {5: "disk full", 11: "cut off"}  # reasons of the state `paused` (virDomainPausedReason)
_TOLD_TO_END = {1, 2, 5}  # reasons of the state `off`: shut down, forced off, saved (virDomainShutoffReason)


@dataclass(frozen=True)
class Found:
    """One of our machines, as libvirt has it."""

    name: str
    state: str
    told_to_end: bool
    """Off because somebody, perhaps the guest, wanted so."""
    stands: str
    """Why it is paused though nobody paused it: "disk full", "cut off" in the middle of its start, or ""."""
    autostart: bool
    recipe: dict[str, Any]


def survey(connection: Any) -> list[Found]:
    """All machines that we have defined; those of others are left out."""
    import libvirt

    found = []
    for domain in connection.listAllDomains():
        try:
            kept = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
            state, reason = domain.state()
            autostart = bool(domain.autostart())
        except libvirt.libvirtError:
            continue  # not ours, or gone since it was listed
        off = state == libvirt.VIR_DOMAIN_SHUTOFF
        found.append(
            Found(
                name=domain.name(),
                state=_STATES.get(state, "unknown"),
                told_to_end=off and reason in _TOLD_TO_END,
                stands=_STANDS.get(reason, "") if state == libvirt.VIR_DOMAIN_PAUSED else "",
                autostart=autostart,
                recipe=kept_recipe(kept),
            )
        )
    return found


def exists(connection: Any, name: str) -> bool:
    """Whether a machine is called so, ours or not."""
    return any(domain.name() == name for domain in connection.listAllDomains())


def define(connection: Any, xml: str, autostart: bool) -> None:
    """Make a machine known to libvirt, or not at all."""
    import libvirt

    domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        domain.setAutostart(int(autostart))
    except libvirt.libvirtError:
        domain.undefine()
        raise


def boot_from(connection: Any, name: str, boot: Boot) -> None:
    """Let a machine boot another system from its next start on."""
    import libvirt

    domain = connection.lookupByName(name)
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    xml = switched(domain.XMLDesc(flags), boot)
    connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)


def keep(connection: Any, name: str, **changed: Any) -> None:
    """Put values in the place of what is kept of a machine's recipe."""
    import libvirt

    domain = connection.lookupByName(name)
    element = ElementTree.Element("recipe")
    kept = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
    element.text = json.dumps({**kept_recipe(kept), **changed})
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    if domain.isActive():
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    text = ElementTree.tostring(element, encoding="unicode")
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "branchline", NAMESPACE, flags)


def start(connection: Any, name: str) -> None:
    """Start a machine; nothing if it runs.

    A directory boots, whatever was saved of it: from an old memory it would go on with what others have changed since.
    """
    import libvirt

    domain = connection.lookupByName(name)
    kept = kept_recipe(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
    fresh = libvirt.VIR_DOMAIN_START_FORCE_BOOT if kept.get("kind") == "directory" else 0
    try:
        domain.createWithFlags(fresh)
    except libvirt.libvirtError:
        if not domain.isActive():
            raise


def press_power_button(connection: Any, name: str) -> bool:
    """Ask the guest to shut down. False if the machine is off.

    Not by its agent: libvirt would wait a minute for one that does not do it.
    """
    import libvirt

    domain = connection.lookupByName(name)
    return _unless_off(domain, lambda: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))


def force_off(connection: Any, name: str) -> bool:
    """End a machine at once. False if it is off."""
    domain = connection.lookupByName(name)
    return _unless_off(domain, domain.destroy)


def resume(connection: Any, name: str) -> None:
    """Let a paused machine go on."""
    connection.lookupByName(name).resume()


def _unless_off(domain: Any, act: Callable[[], object]) -> bool:
    import libvirt

    try:
        act()
    except libvirt.libvirtError:
        if domain.isActive():
            raise
        return False
    return True


def definition(connection: Any, name: str) -> str:
    """What libvirt starts a machine from."""
    import libvirt

    return str(connection.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def undefine(connection: Any, name: str) -> None:
    """Forget a machine that is off; its disks stay. VmError if it runs, perhaps since just now."""
    domain = connection.lookupByName(name)
    if domain.isActive():
        raise VmError("refused", f"{name} runs; `branchline vm stop {name}` first")
    import libvirt

    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    domain.undefineFlags(flags | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def console(connection: Any, name: str) -> str | None:
    """The pseudo terminal of a running machine's serial console."""
    return console_device(connection.lookupByName(name).XMLDesc())


def booted(connection: Any, name: str) -> str | None:
    """The kernel that a running machine has booted directly."""
    domain = connection.lookupByName(name)
    return kernel(domain.XMLDesc()) if domain.isActive() else None


def status(connection: Any, name: str) -> str | None:
    """The socket on which a running machine says how far it is, if it is one that does."""
    return status_socket(connection.lookupByName(name).XMLDesc())


def display(connection: Any, name: str) -> str | None:
    """The socket of a running machine's display."""
    return display_socket(connection.lookupByName(name).XMLDesc())


def statistics(connection: Any, name: str) -> dict[str, Any]:
    """libvirt's counters of a machine, by libvirt's names ("cpu.time", "block.0.rd.bytes"), and "agent.connected"."""
    import libvirt

    flags = (
        libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    )  # what QEMU would have to be waited for is left out
    domain = connection.lookupByName(name)
    ((_, counters),) = connection.domainListGetStats([domain], 0, flags)
    return {**counters, "agent.connected": agent_answers(domain.XMLDesc())}


def agents(connection: Any, names: Iterable[str]) -> dict[str, bool]:
    """Which of these machines run, and whether their guests' agents have opened their channels."""
    import libvirt

    found = {}
    for name in names:
        with contextlib.suppress(libvirt.libvirtError):  # gone since
            domain = connection.lookupByName(name)
            if domain.isActive():
                found[name] = agent_answers(domain.XMLDesc())
    return found


def untouched(connection: Any) -> int:
    """Bytes of memory that running machines may still take: theirs, less what of it the kernel has given out."""
    import libvirt

    flags = (
        libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    )
    all_of_them = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_BALLOON, flags)
    return sum(
        max(0, counters.get("balloon.maximum", 0) - counters.get("balloon.rss", 0)) * 1024
        for _, counters in all_of_them
    )


def version(connection: Any) -> str:
    """Of libvirtd."""
    number = connection.getLibVersion()
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
