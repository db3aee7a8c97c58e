"""Machines that end at any moment are known to have ended."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vmhost.libvirtd import Events, Libvirtd, machines_in
from tests.unit.vmhost.test_recipe import GOOD
from vmhost import calls
from vmhost.domain import domain_xml
from vmhost.guarantees import Guarantees
from vmhost.link import LOOK_S
from vmhost.recipe import parse
from vmhost.running import Running
from vmhost.wishes import Wishes

RECIPE = parse(GOOD, "/directory.toml")
NAME = str(RECIPE.name)


class _Ending(Libvirtd):
    """Its machine crashes when it has just been seen to run, and libvirtd tells of it while others are looked at."""

    def start(self, *, on_up: Callable[[], None], **others: Any) -> None:
        self._on_event = others["on_event"]
        on_up()

    async def do(self, call: Callable[[Any], Any], within: float = LOOK_S) -> Any:
        said = await super().do(call, within)
        if call is calls.survey and self.running:
            self.running.clear()
            asyncio.get_running_loop().call_soon(self._on_event, NAME, calls.STOPPED, calls.ENDED_CRASHED)
        return said

    def found(self, name: str) -> calls.Found:
        return dataclasses.replace(super().found(name), told_to_end=False, autostart=True)


@pytest.mark.parametrize("known_before", [True, False])
def test_a_machine_that_ends_while_all_are_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_before: bool
) -> None:
    libvirtd, told = _Ending(monkeypatch), Events()
    libvirtd.defined[NAME] = domain_xml(RECIPE, "tcg", tmp_path / NAME)
    libvirtd.running[NAME] = ""
    machines = machines_in(tmp_path, libvirtd, told)
    if not known_before:
        machines.known.clear()
    running = Running(machines, Wishes(tmp_path), Guarantees())

    started = asyncio.Event()
    libvirtd.before = lambda what, _name: started.set() if what == "start" else None

    async def until_started() -> None:
        task = asyncio.create_task(running.run())
        async with asyncio.timeout(20):
            await started.wait()
        task.cancel()

    asyncio.run(until_started())
    assert "vm.crashed" in [kind for kind, _ in told]
