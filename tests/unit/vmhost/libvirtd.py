"""A libvirtd of a few lines, which knows which machines are defined and which of them run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from vmhost import calls
from vmhost.directory import bundle
from vmhost.directory.slots import Slot, slot_directory
from vmhost.domain import NAMESPACE, Boot, kept_recipe
from vmhost.errors import VmError
from vmhost.link import LOOK_S, Link
from vmhost.machines import Machines, known
from vmhost.storage import Storage

Events = list[tuple[str, str]]


class Libvirtd(Link):
    """What `vmhost.calls` asks of libvirt it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("")
        self.trouble = ""
        self.defined: dict[str, str] = {}
        self.running: dict[str, str] = {}
        """What each has booted."""
        self.before: Callable[[str, str], None] = lambda *_: None
        """Called with each call's name and machine, before anything is done; may raise."""
        for asked in (
            "exists",
            "define",
            "undefine",
            "definition",
            "start",
            "force_off",
            "boot_from",
            "booted",
        ):
            monkeypatch.setattr(calls, asked, getattr(self, f"_{asked}"))
        monkeypatch.setattr(calls, "press_power_button", self._force_off)
        monkeypatch.setattr(calls, "survey", self._survey)

    def start(self, *, on_up: Callable[[], None], **_: object) -> None:
        on_up()

    async def do(self, call: Callable[[Any], Any], within: float = LOOK_S) -> Any:
        if self.trouble:
            raise VmError("unavailable", self.trouble)
        return call(self)

    def found(self, name: str) -> calls.Found:
        """As `calls.survey` says it."""
        kept = ElementTree.fromstring(self.defined[name]).find(f"metadata/{{{NAMESPACE}}}recipe")
        assert kept is not None
        recipe = kept_recipe(ElementTree.tostring(kept, encoding="unicode"))
        state = "running" if name in self.running else "off"
        return calls.Found(name, state, state == "off", "", False, recipe)

    def _survey(self, _: object) -> list[calls.Found]:
        return [self.found(name) for name in self.defined]

    def _exists(self, _: object, name: str) -> bool:
        return name in self.defined

    def _define(self, _: object, xml: str, _autostart: bool) -> None:
        name = ElementTree.fromstring(xml).findtext("name") or ""
        self.before("define", name)
        self.defined[name] = xml

    def _undefine(self, _: object, name: str) -> None:
        self.before("undefine", name)
        self.defined.pop(name)

    def _definition(self, _: object, name: str) -> str:
        return self.defined[name]

    def _start(self, _: object, name: str) -> None:
        self.before("start", name)
        kernel = ElementTree.fromstring(self.defined[name]).findtext("os/kernel")
        self.running.setdefault(name, kernel or "")

    def _force_off(self, _: object, name: str) -> bool:
        self.running.pop(name, None)
        return False

    def _boot_from(self, _: object, name: str, boot: Boot) -> None:
        root = ElementTree.fromstring(self.defined[name])
        kernel = root.find("os/kernel")
        assert kernel is not None
        kernel.text = str(boot.directory / "vmlinuz")
        self.defined[name] = ElementTree.tostring(root, encoding="unicode")

    def _booted(self, _: object, name: str) -> str | None:
        return self.running.get(name)


def slot_with(machine: Path, slot: Slot, version: str = "20260102T030405Z") -> Path:
    """A system that a machine in that directory may boot; only what it says of itself is there."""
    directory = slot_directory(machine, slot)
    directory.mkdir(parents=True)
    manifest = bundle.Manifest(
        version=version, arch="x86-64", debian="bookworm", kernel_arguments="quiet", packages={}, files={}
    )
    (directory / bundle.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return directory


def machines_in(directory: Path, libvirtd: Libvirtd, told: Events | None = None) -> Machines:
    """All that are defined are known; events come to be in `told`: kind and text."""
    events = [] if told is None else told
    machines = Machines(
        libvirtd, Storage(directory, ()), lambda kind, _severity, text, _evidence: events.append((kind, text))
    )
    machines.known = {name: known(libvirtd.found(name)) for name in libvirtd.defined}
    return machines
