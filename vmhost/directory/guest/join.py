"""What the machine does by itself: `machine` before its network, `begin` before Samba, `tend` every two minutes.

    python3 -m vmhost.directory.guest.join machine|begin|tend

Each may be killed at any point and is run again. `begin` does nothing once it has been done.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import ldb
from samba import NTSTATUSError, WERRORError

from vmhost.directory.guest import account, machine
from vmhost.directory.guest import seed as seeds
from vmhost.directory.guest.seed import Seed
from vmhost.directory.guest.status import Status

LATER = (ldb.LdbError, NTSTATUSError, WERRORError, OSError, subprocess.SubprocessError)
"""What may be better the next time: the centre is out of reach, say."""
_BEGUN, _TENDED = 0.85, 1.0  # parts of the whole


class Guest:
    """Keeps what it knows in the directory `data`; `seed` is where that of the first start is mounted."""

    def __init__(self, data: Path, seed: Path, status: Status) -> None:
        self._data = data
        self._seed_file = seed / "seed.json"
        self._status = status
        self._joined = data / "joined"  # the seed without its secrets

    def seed(self) -> Seed:
        """RefusedError if there is none that can be used."""
        file = self._joined if self._joined.exists() else self._seed_file
        try:
            return seeds.read(file)
        except (OSError, ValueError, TypeError) as error:
            raise account.RefusedError(f"the seed cannot be read: {error}; make the machine anew") from None

    def machine(self) -> None:
        """Take name and address."""
        machine.furnish(self.seed(), joined=self._joined.exists())

    def begin(self) -> None:
        """Join, if that has not been done."""
        seed = self.seed()
        if self._joined.exists():
            return
        # What is imported takes long where the machine is emulated.
        from vmhost.directory.guest import joining, restoring

        self._data.mkdir(parents=True, exist_ok=True)
        password = self._data / "password"
        if seed.archive:
            restoring.restore(seed, self._seed_file.with_name(seed.archive), self._say_join)
        elif seed.role == "new":
            joining.new(seed, self._say_join)
        else:
            joining.join(seed, password, self._say_join)
        machine.furnish(seed, joined=True)
        secret: dict[str, object] = {"password": "", "health": {}, "tls": {}, "archive": ""}
        known = {**dataclasses.asdict(seed), "format": seeds.FORMAT, **secret}
        os.sync()  # Samba's databases, before it is said that they are good
        machine.write(str(self._joined), json.dumps(known))
        password.unlink(missing_ok=True)  # Samba has it
        if os.path.ismount(self._seed_file.parent):
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run(["umount", str(self._seed_file.parent)], check=True)
        self._status.say("join", f"joined {seed.domain}", _BEGUN)

    def tend(self) -> None:
        """Bring DNS, policies and passwords up to date."""
        from vmhost.directory.guest import tending

        seed = self.seed()
        tending.tend(seed, self._data, lambda text, part: self._say("tend", text, _BEGUN, _TENDED, part))
        self._status.say("ready", f"{seed.host}.{seed.domain} serves {seed.site}", 1.0, done=True)

    def _say_join(self, text: str, part: float) -> None:
        self._say("join", text, 0.0, _BEGUN, part)

    def _say(self, step: str, text: str, first: float, last: float, part: float) -> None:
        self._status.say(step, text, round(first + (last - first) * part, 3))


def main() -> int:
    """0 if done; 1 if it is to be tried again; 2 if that would not help."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["machine", "begin", "tend"])
    parser.add_argument("--data", type=Path, default=Path("/data/branchline"))
    parser.add_argument("--seed", type=Path, default=Path("/run/branchline/seed"))
    parser.add_argument("--status", type=Path, default=Path("/run/branchline/status.json"))
    given = parser.parse_args()
    status = Status(given.status)
    guest = Guest(given.data, given.seed, status)
    try:
        {"machine": guest.machine, "begin": guest.begin, "tend": guest.tend}[given.what]()
    except account.RefusedError as error:
        status.say(given.what, "cannot go on", error=str(error))
        return 2
    except LATER as error:
        status.say(given.what, f"{_reason(error)}; it is tried again")
        return 1
    return 0


def _reason(error: Exception) -> str:
    return str(error.args[1]) if isinstance(error, ldb.LdbError | NTSTATUSError | WERRORError) else str(error)


if __name__ == "__main__":
    sys.exit(main())
