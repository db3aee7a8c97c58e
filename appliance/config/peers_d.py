"""The directory `peers.d` beside the configuration file: one file for each peer that was enrolled.

Such a file holds [[peers]] and nothing else, and is read as if it stood in the configuration file itself. People may
edit it; `branchline enrol` writes and removes it.
"""

from __future__ import annotations

import os
from pathlib import Path

from appliance.config.schema import Peer
from appliance.config.written import toml, unusual
from vmhost import durable

_HEAD = "# Written by `branchline enrol`. Every field is explained in docs/CONFIG.md.\n\n"


def files(config: Path) -> list[Path]:
    """The files beside `config`, in the order of their names. OSError as it comes."""
    try:
        return sorted(path for path in _directory(config).iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return []


def has(config: Path, peer: str) -> bool:
    """Whether the peer of that id has a file there, and so is not of the configuration file."""
    return _file(config, peer).is_file()


def write(config: Path, peer: Peer) -> Path:
    """Makes or replaces the peer's file, on disk when this returns. OSError as it comes; then nothing has changed."""
    path = _file(config, str(peer.id))
    path.parent.mkdir(mode=0o750, exist_ok=True)
    durable.replace(path, (_HEAD + toml({"peers": [unusual(peer)]})).encode())
    return path


def remove(config: Path, peer: str) -> None:
    """Removes the peer's file, if it is there. OSError as it comes."""
    path = _file(config, peer)
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        durable.sync(path.parent)


def _directory(config: Path) -> Path:
    return config.parent / "peers.d"


def _file(config: Path, peer: str) -> Path:
    assert os.sep not in peer
    return _directory(config) / f"{peer}.toml"
