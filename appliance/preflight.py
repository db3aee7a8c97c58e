"""Whether this machine can be a Branchline now, found out before anything on it is changed."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from appliance.config import Config
from appliance.intercept.nft import Nft, NftError


class StartError(Exception):
    """The daemons cannot be started; the message says why and what to do."""


def check(config: Config) -> None:
    """Raise StartError if an interface is missing or the kernel's tables may not be touched. Changes nothing."""
    here = {name for _, name in socket.if_nameindex()}
    for side, interfaces in (("lan", config.box.lan), ("wan", config.box.wan)):
        for interface in interfaces:
            if interface not in here:
                raise StartError(
                    f"box.{side}: there is no interface {interface}; there are {', '.join(sorted(here))}. "
                    "Create it or correct the configuration"
                )
    try:
        with Nft() as nft:
            nft.run("list tables")
    except NftError as error:
        who = "" if os.geteuid() == 0 else "run it as root, or give it CAP_NET_ADMIN. "
        raise StartError(f"the kernel's packet filter cannot be used: {who}{error}") from None


def make_directories(config: Config) -> None:
    """Make the state and run directories; StartError if that cannot be."""
    for key, directory in (("state_dir", config.box.state_dir), ("run_dir", config.box.run_dir)):
        try:
            Path(directory).mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"box.{key}: {directory} cannot be made ({error.strerror}); make it, or name another directory"
            ) from None


def lock(config: Config) -> IO[str]:
    """Be the only one in the run directory for as long as the returned file is open; StartError if another is."""
    path = Path(config.box.run_dir) / "supervisor.lock"
    file = open(path, "a+")  # noqa: SIM115 - the caller holds it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read(20).strip() or "unknown"
        file.close()
        raise StartError(
            f"branchline runs already in {path.parent} (process {pid}); stop it, or use another box.run_dir"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
