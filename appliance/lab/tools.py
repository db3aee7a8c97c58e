"""Running the system's own network commands, with errors a person can act on."""

import shutil
import subprocess
from collections.abc import Sequence

PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "iptables-nft-restore": "iptables",
    "ip6tables-nft-restore": "iptables",
    "git": "git",
    "smbd": "samba",
    "smbclient": "smbclient",
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "setpriv": "util-linux",
}
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """The simulated network could not be built or changed; the message says why and what to do."""


def find(command: str) -> str:
    """Path of a system command, also when /usr/sbin is not in an ordinary user's PATH.

    Raises LabError naming the Debian package that has it.
    """
    path = shutil.which(command) or shutil.which(command, path=SEARCH)
    if path is None:
        package = PACKAGES.get(command, command)
        raise LabError(f"{command} is not installed; on Debian: apt-get install {package}")
    return path


def check(argv: Sequence[str], text: str | None = None) -> str:
    """Run a command to its end and return its standard output; raises LabError with what it said."""
    done = subprocess.run([find(argv[0]), *argv[1:]], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)} failed with status {done.returncode}: {said}")
    return done.stdout


def ip_batch(netns: str | None, lines: Sequence[str]) -> None:
    """Apply many `ip` commands in one process (tens of commands take a few milliseconds)."""
    where = ["-n", netns] if netns else []
    check(["ip", *where, "-batch", "-"], "\n".join(lines) + "\n")
