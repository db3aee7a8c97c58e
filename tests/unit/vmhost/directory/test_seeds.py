"""What becomes of the seed of a directory, in which there are secrets."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmhost.abilities import Abilities
from vmhost.agent.watch import Agents
from vmhost.calls import Found, survey
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.guarantees import Guarantees
from vmhost.lifecycle import Lifecycle
from vmhost.link import LOOK_S, Link
from vmhost.machines import Machines
from vmhost.running import Running
from vmhost.storage import Storage
from vmhost.wishes import Wishes


class _Libvirtd(Link):
    """Has one directory, which has no seed any more."""

    async def do(self, call: Callable[[Any], Any], within: float = LOOK_S) -> Any:
        return (
            [Found("directory", "running", False, "", True, {"kind": "directory"})]
            if call is survey
            else None
        )


def test_nothing_is_left_by_a_process_that_was_killed(tmp_path: Path) -> None:
    """Neither of one that was being made, nor of one that had just been used; the machine's own files stay."""
    (tmp_path / ".seed-abc" / "tree").mkdir(parents=True)
    (tmp_path / "directory").mkdir()
    for file in (".seed-abc/tree/seed.json", "directory/seed.qcow2", "directory/data.qcow2"):
        (tmp_path / file).touch()

    async def begin() -> None:
        machines = Machines(_Libvirtd(""), Storage(tmp_path, ()), lambda *_: None)
        running = Running(machines, Wishes(tmp_path), Guarantees())
        abilities = Abilities()
        creation = Creation(machines, running, abilities)
        lifecycle = Lifecycle(machines, running, Agents(machines, running))
        directories = Directories(machines, running, abilities, creation, lifecycle)
        for stir in running.on_stock:
            stir()
        work = asyncio.create_task(directories.run())
        async with asyncio.timeout(10):
            while (tmp_path / "directory" / "seed.qcow2").exists():
                await asyncio.to_thread(time.sleep, 0.001)
        assert not work.done()
        work.cancel()

    asyncio.run(begin())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data.qcow2", "directory"]
