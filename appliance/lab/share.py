"""A Windows file share in the lab's data centre: Samba with every file of its own in a private directory."""

import filecmp
from collections.abc import Sequence
from pathlib import Path

from appliance.lab.host import Host
from appliance.lab.listening import start
from appliance.lab.tools import find

PORT = 445
NAME = "files"
PLACES = (
    *("private dir", "lock directory", "state directory", "cache directory"),
    *("pid directory", "binddns dir", "ncalrpc dir"),
)


def configuration(directory: Path, shared: Path, *, writable: bool = False) -> str:
    """smb.conf of a server for guests, or of a client, that touches nothing outside `directory`."""
    settings = {
        "server role": "standalone server",
        "workgroup": "LAB",
        "map to guest": "Bad User",
        "guest account": "root",
        "smb ports": str(PORT),
        "disable netbios": "yes",
        "load printers": "no",
        "printcap name": "/dev/null",
        "disable spoolss": "yes",
        "log file": f"{directory}/log",
        "passdb backend": f"tdbsam:{directory}/passdb.tdb",
    } | {place: str(directory / "run") for place in PLACES}
    lines = ["[global]", *(f"{key} = {value}" for key, value in settings.items())]
    lines += [
        f"[{NAME}]",
        f"path = {shared}",
        "guest ok = yes",
        f"read only = {'no' if writable else 'yes'}",
        "",
    ]
    return "\n".join(lines)


class Share:
    """smbd on a host of the lab, offering one directory to anybody. Needs root outside any user namespace."""

    def __init__(self, host: Host, directory: Path, shared: Path, *, writable: bool = False) -> None:
        directory.mkdir(mode=0o700)
        (directory / "run").mkdir(mode=0o700)
        self._address = host.v4
        self._directory = directory
        self._shared = shared
        self._config = directory / "smb.conf"
        self._config.write_text(configuration(directory, shared, writable=writable))
        argv = [find("smbd"), "--foreground", "--no-process-group", "-s", str(self._config), "--debug-stdout"]
        self._process = start(host, argv, PORT, directory / "smbd.log")

    def command(self, words: str) -> list[str]:
        """The smbclient that says these words to the share."""
        argv = [find("smbclient"), "-s", str(self._config), "--no-pass", f"//{self._address}/{NAME}"]
        return [*argv, "--command", words]

    def copy(self, client: Host, names: Sequence[str]) -> bool:
        """Copy files of the share with smbclient, compare them, forget them; True when all are the same."""
        got = {name: self._directory / f"copy-of-{name}" for name in names}
        argv = self.command("; ".join(f"get {name} {target}" for name, target in got.items()))
        done = client.run(argv, capture_output=True)
        try:
            return done.returncode == 0 and all(
                filecmp.cmp(self._shared / name, target, shallow=False) for name, target in got.items()
            )
        finally:
            for target in got.values():
                target.unlink(missing_ok=True)
