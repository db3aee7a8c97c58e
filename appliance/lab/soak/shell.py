"""SSH: OpenSSH's server with keys made for the run; scp both ways, and a session that is open all the time."""

from pathlib import Path

from appliance.lab.listening import start
from appliance.lab.network import Lab
from appliance.lab.soak import programs
from appliance.lab.soak.documents import Shelf, compare
from appliance.lab.tools import check, find

PORT = 22
PRIVILEGE_SEPARATION = Path("/run/sshd")  # compiled into sshd


class Shell:
    name = "ssh"

    def __init__(self, lab: Lab, directory: Path, first: int) -> None:
        self._client = lab.client
        self._shelf = Shelf(directory / "offered", first)
        self._got, self._returned = directory / "got", directory / "returned"
        self._got.mkdir()
        self._returned.mkdir()
        host_key, key = directory / "host_key", directory / "key"
        for path in (host_key, key):
            check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)])
        known = directory / "known_hosts"
        known.write_text(f"{lab.server.v4} {host_key.with_suffix('.pub').read_text()}")
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        settings = {
            "Port": PORT,
            "HostKey": host_key,
            "AuthorizedKeysFile": key.with_suffix(".pub"),
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "PidFile": "none",
            "Subsystem": "sftp internal-sftp",
        }
        config = directory / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        start(lab.server, [find("sshd"), "-D", "-e", "-f", str(config)], PORT, directory / "log")
        options = {"IdentityFile": key, "UserKnownHostsFile": known, "BatchMode": "yes", "LogLevel": "ERROR"}
        self._options = [
            "-F",
            "none",
            *(word for name in options for word in ("-o", f"{name}={options[name]}")),
        ]
        self._target = f"root@{lab.server.v4}"
        self._session = programs.Conversation(
            lab.client, [find("ssh"), *self._options, "-T", self._target, "cat"]
        )
        self._turns = 0

    def turn(self) -> int:
        self._turns += 1
        word = b"turn %d of a session that stays" % self._turns
        compared = self._session.say(word, word)
        wanted = self._shelf.turn()
        got = [self._got / path.name for path in wanted]
        returned = [self._returned / path.name for path in wanted]
        scp = [find("scp"), "-q", *self._options]
        try:
            sources = [f"{self._target}:{path}" for path in wanted]
            programs.run(self._client, [*scp, *sources, str(self._got)])
            compared += compare(wanted, got)
            programs.run(self._client, [*scp, *map(str, got), f"{self._target}:{self._returned}"])
            return compared + compare(wanted, returned)
        finally:
            for path in (*got, *returned):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        self._session.close()
