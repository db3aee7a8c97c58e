"""The bundle itself: a tar.gz of small texts, and a list that says which of them are missing and why."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from appliance.diagnose.box import MissingError
from appliance.diagnose.redaction import Scrubber

MOST_BYTES: Final = 4 << 20
"""Of one text, of which the end is kept: there the news are. What is JSON is bounded where it is asked for."""
_CUT: Final = b"(its beginning was cut off)\n"

_ABOUT: Final = """\
Made by `branchline diagnose`, for support.

In here: versions, the configuration without keys, state, flows with their addresses, events, kernel rules, routes,
settings and counters, and what the kernel tells of the daemons.
Not in here: private keys, where they are, tokens, anything that flows carried or the chunk cache holds, memory of
processes. Addresses of hosts are: whoever gets this file learns who speaks with whom.
`parts.json` lists what is here, and why what is missing is missing.
"""


@dataclass(frozen=True)
class Part:
    """One text of the bundle; `missing` says why it is not there, "" if it is."""

    name: str
    bytes: int
    missing: str = ""


def write(path: Path, parts: Mapping[str, Callable[[], str]], scrubber: Scrubber, now: float) -> list[Part]:
    """Makes the bundle (mode 0600) and says what is in it. `now`: seconds since 1970.

    FileExistsError rather than overwrite anything; OSError as it comes.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    listed: list[Part] = []
    try:
        with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            root = path.name.removesuffix(".gz").removesuffix(".tar")
            for part, data in _read(parts):
                clean = scrubber.clean(data)  # before it is cut: half a secret is not known as one
                if part.name.endswith(".txt") and len(clean) > MOST_BYTES:
                    clean = _CUT + clean[-MOST_BYTES:]
                listed.append(Part(part.name, len(clean), part.missing))
                if not part.missing:
                    _add(archive, f"{root}/{part.name}", clean, now)
            _add(
                archive,
                f"{root}/parts.json",
                json.dumps([asdict(part) for part in listed], indent=1).encode(),
                now,
            )
            _add(archive, f"{root}/README.txt", _ABOUT.encode(), now)
    except BaseException:
        path.unlink(missing_ok=True)  # half a bundle helps nobody
        raise
    return listed


def _read(parts: Mapping[str, Callable[[], str]]) -> Iterator[tuple[Part, bytes]]:
    for name, read in parts.items():
        try:
            data = read().encode(errors="replace")
        except MissingError as error:
            yield Part(name, 0, str(error)), b""
        except (OSError, ValueError) as error:  # one part must not cost the others
            yield Part(name, 0, f"{type(error).__name__}: {error}"), b""
        else:
            yield Part(name, len(data)), data


def _add(archive: tarfile.TarFile, name: str, data: bytes, now: float) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, now
    archive.addfile(entry, io.BytesIO(data))
