"""The virtual machines of this box: where the parts are put together.

Each subject is a class in a file of its own that is given the `Machines` it works on, and the parts it needs. A new
subject is such a file, an attribute here, a file of its methods in `appliance/control/vms`, and one of its commands in
`appliance/cli/vm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from vmhost import leftovers
from vmhost.abilities import Abilities
from vmhost.agent.watch import Agents
from vmhost.backup.backups import Backups
from vmhost.creation import Creation
from vmhost.directory.directories import Directories
from vmhost.directory.signing import BundleKey
from vmhost.directory.updating import Updating
from vmhost.guarantees import Guarantees
from vmhost.health.watch import Watch
from vmhost.lifecycle import Lifecycle
from vmhost.link import Link
from vmhost.looking import Looking
from vmhost.machines import Machines, Tell
from vmhost.mending import Mending
from vmhost.running import Running
from vmhost.storage import Storage
from vmhost.wishes import Wishes


class Host:
    """On the libvirtd of `uri`, disks in `directory`, systems signed by one of the keys `trusted`.

    `scratch` is a directory for what is needed for seconds, best in memory. `tell` hears what happens: kind, severity,
    text, evidence.
    """

    def __init__(
        self, uri: str, directory: Path, scratch: Path, trusted: Iterable[BundleKey], tell: Tell
    ) -> None:
        self.machines = Machines(Link(uri), Storage(directory, trusted), tell)
        guarantees = Guarantees()
        self.running = Running(self.machines, Wishes(directory), guarantees)
        self._mending = Mending(self.machines, self.running)
        self._agents = Agents(self.machines, self.running)
        abilities = Abilities()
        self.creation = Creation(self.machines, self.running, abilities)
        self.lifecycle = Lifecycle(self.machines, self.running, self._agents)
        self.directories = Directories(self.machines, self.running, abilities, self.creation, self.lifecycle)
        self.backups = Backups(self.machines, self.running, self.creation, abilities, self.directories)
        self.health = Watch(self.machines, scratch)
        self.updating = Updating(self.machines, self.running, self.lifecycle, scratch)
        self.looking = Looking(self.machines, abilities, guarantees, self.health, self._agents)

    async def run(self) -> None:
        """Keep machines running, until cancelled."""
        for path in await asyncio.to_thread(leftovers.sweep, self.machines.storage.directory):
            text = f"{path} was left by a process that has ended in the middle of its work; it is deleted"
            self.machines.tell("vm.swept", "info", text, {"path": str(path)})
        parts = (self.running, self.backups, self.directories, self.health, self.updating)
        await asyncio.gather(*(part.run() for part in (*parts, self._mending, self._agents)))
