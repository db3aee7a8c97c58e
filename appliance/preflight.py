"""Whether this machine can be a Branchline now, found out before anything on it is changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from appliance.config import Config
from appliance.intercept.nft import Nft, NftError

_IN_NAMESPACE = (
    "\0branchline"  # an abstract address: one for each network namespace, free when its holder is dead
)


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


@contextlib.contextmanager
def lock(config: Config) -> Iterator[None]:
    """Be the only one in the run directory and in the network namespace; StartError if another is in either."""
    path = Path(config.box.run_dir) / "supervisor.lock"
    with open(path, "a+") as file, socket.socket(socket.AF_UNIX) as namespace:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read(20).strip() or "unknown"
            raise StartError(
                f"branchline runs already in {path.parent} (process {pid}); stop it first"
            ) from None
        try:
            namespace.bind(_IN_NAMESPACE)
        except OSError:
            raise StartError(
                "branchline runs already in this network namespace, with another box.run_dir. Two would take each "
                "other's kernel tables away; stop it first, or use a namespace of its own"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
