"""A disk that is full, or wrong, costs what was to be written: never the process that the router needs."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.vmhost.libvirtd import slot_with
from vmhost.agent.watch import Agents
from vmhost.calls import Found, survey
from vmhost.directory import slots
from vmhost.directory.slots import Slots
from vmhost.directory.updating import Updating
from vmhost.guarantees import Guarantees
from vmhost.lifecycle import Lifecycle
from vmhost.link import LOOK_S, Link
from vmhost.machines import Known, Machines
from vmhost.running import Running
from vmhost.storage import Storage
from vmhost.wishes import Wishes


class _Libvirtd(Link):
    """Has found these machines; asked anything else it says `answer`."""

    def __init__(self, found: list[Found], answer: object = None) -> None:
        super().__init__("")
        self.trouble = ""
        self._found, self._answer = found, answer

    def start(self, *, on_up: Callable[[], None], **_: object) -> None:
        on_up()

    async def do(self, call: Callable[[Any], Any], within: float = LOOK_S) -> Any:
        return self._found if call is survey else self._answer


def _told_until(kind: str, libvirtd: Link, directory: Path, *known: str, updating: bool = False) -> str:
    """The text of the first event of that `kind`. What keeps machines running must not end before."""
    told: asyncio.Queue[str] = asyncio.Queue()

    def tell(found: str, _severity: object, text: str, _evidence: object) -> None:
        if found == kind:
            told.put_nowait(text)

    async def run() -> str:
        machines = Machines(libvirtd, Storage(directory, ()), tell)
        machines.known = {name: Known(1, True, 1) for name in known}
        running = Running(machines, Wishes(directory), Guarantees())
        part: Running | Updating = running
        if updating:
            part = Updating(
                machines, running, Lifecycle(machines, running, Agents(machines, running)), directory
            )
            for stir in running.on_stock:
                stir()
        async with asyncio.timeout(10):
            work, heard = asyncio.create_task(part.run()), asyncio.create_task(told.get())
            done, others = await asyncio.wait((work, heard), return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
            return str(done.pop().result())

    return asyncio.run(run())


def test_a_wish_that_cannot_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "guest" / ".off").mkdir(parents=True)
    off = Found("guest", "off", True, "", True, {})
    assert "Is a directory" in _told_until("vm.off_unwritten", _Libvirtd([off]), tmp_path)


def test_an_update_cannot_be_undone_because_of_the_disk(tmp_path: Path) -> None:
    """The record of one machine is wrong, that of the next cannot be written."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "slots.json").write_bytes(b"\0")
    (tmp_path / "b").mkdir()
    slots.write(tmp_path / "b", Slots().tried())
    slot_with(tmp_path / "b", "a")
    (tmp_path / "b" / "slots.json.new").mkdir()
    libvirtd = _Libvirtd([], str(slots.slot_directory(tmp_path / "b", "a") / "vmlinuz"))
    said = _told_until("vm.update_stuck", libvirtd, tmp_path, "a", "b", updating=True)
    assert said.startswith("b cannot go back")
    assert "slots.json.new" in said
