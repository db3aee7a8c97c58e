"""A real domain controller of the centre: Samba, as processes in network, mount, pid and UTS namespaces of its own.

It keeps all it has in one directory and is plugged into a bridge, where machines and the box reach it. `provision`
makes a new domain, `join` another controller of one, `adopt` takes what an earlier one has provisioned; then `start`.
"""

import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from tests.vm.box import BRIDGE, until
from tests.vm.certificate import make_certificate

REALM = "AD.EXAMPLE"
DOMAIN = REALM.lower()
NETBIOS = "AD"
SITE = "Default-First-Site-Name"
ADMINISTRATOR, PASSWORD = "Administrator", "Secret.of.the.Centre-1"
PORTS = (53, 88, 135, 389, 445, 464, 636, 3268)
_START_S = 60.0

_PLACES = {
    "etc": "/etc/samba",
    "lib": "/var/lib/samba",
    "cache": "/var/cache/samba",
    "log": "/var/log/samba",
    "run": "/run/samba",
}
_SMB_CONF = """[global]
netbios name = {NAME}
realm = {REALM}
workgroup = {NETBIOS}
server role = active directory domain controller
interfaces = lo eth0
bind interfaces only = yes
log level = 1
[sysvol]
path = /var/lib/samba/sysvol
read only = no
[netlogon]
path = /var/lib/samba/sysvol/{DOMAIN}/scripts
read only = no
"""
_KRB5_CONF = f"""[libdefaults]
default_realm = {REALM}
dns_lookup_realm = false
dns_lookup_kdc = true
rdns = false
"""
# Pid 1 of the controller's namespaces: ends, and all of it, when pytest does.
_SHELL = """set -e
cd '{directory}'
{mounts}
hostname {name}
ip link set lo up
echo ready
exec cat >/dev/null
"""


@dataclass(frozen=True)
class Place:
    """Where a controller is on the network."""

    name: str
    v4: IPv4Interface
    v6: IPv6Interface
    bridge: str = BRIDGE


CENTRE = Place("centre", IPv4Interface("10.1.0.10/16"), IPv6Interface("fd00:1::10/64"))
BRANCH = Place("branch", IPv4Interface("10.1.0.11/16"), IPv6Interface("fd00:1::11/64"))


class Centre:
    """A controller with its files in `directory`, which should be in memory: a provision calls fsync often."""

    def __init__(self, directory: Path, place: Place = CENTRE) -> None:
        self.directory = directory
        self.place = place
        self.host = f"{place.name}.{DOMAIN}"
        self.address, self.address6 = str(place.v4.ip), str(place.v6.ip)
        self._samba: subprocess.Popen[bytes] | None = None
        for name in _PLACES:
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._resolve_by(self.address)
        (directory / "krb5.conf").write_text(_KRB5_CONF)
        (directory / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.host} {place.name}\n")
        mounts = {"krb5.conf": "/etc/krb5.conf", "hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf"}
        lines = [f"mkdir -p {path}\nmount --bind {name} {path}" for name, path in _PLACES.items()]
        lines += [
            f"[ -e {path} ] || touch {path}\nmount --bind {name} {path}" for name, path in mounts.items()
        ]
        shell = _SHELL.format(directory=directory, mounts="\n".join(lines), name=place.name)
        unshare = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._namespaces = subprocess.Popen(
            [*unshare, "sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._namespaces.stdout is not None
        assert self._namespaces.stdout.readline() == b"ready\n"
        pid = self._namespaces.pid
        self.pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        """Of a process in its namespaces, for nsenter."""
        self._plug_in()

    def _plug_in(self) -> None:
        card = f"c-{self.place.name}"
        for command in (
            ["link", "add", card, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)],
            ["link", "set", card, "master", self.place.bridge, "up"],
        ):
            subprocess.run(["ip", *command], check=True)
        self.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
        self.run("ip", "link", "set", "eth0", "up")
        for address in (self.place.v4, self.place.v6):
            self.run("ip", "address", "add", str(address), "dev", "eth0")

    def cut(self) -> None:
        """Pull its network cable."""
        subprocess.run(["ip", "link", "set", f"c-{self.place.name}", "down"], check=True)

    def mend(self) -> None:
        """Plug the cable in again; it carries when this returns."""
        subprocess.run(["ip", "link", "set", f"c-{self.place.name}", "up"], check=True)
        until(lambda: "state UP" in self.run("ip", "link", "show", "eth0"), "the link is up")

    def run(self, *command: str, **options: object) -> str:
        """A command as on the controller itself: its standard output. AssertionError if it fails."""
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, **options)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def inside(self, *command: str) -> list[str]:
        """The command line that does so."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--pid", *command]

    def tool(self, *arguments: str) -> str:
        """samba-tool, with the rights of root on the controller's own files."""
        return self.run("samba-tool", *arguments)

    def remote_tool(self, *arguments: str) -> str:
        """samba-tool over the network, as the domain's administrator."""
        return self.tool(*arguments, f"--username={ADMINISTRATOR}", f"--password={PASSWORD}")

    def add_user(self, name: str, password: str) -> None:
        """Its password is good at once, and for ever."""
        self.tool("user", "create", name, password, "--use-username-as-cn")
        self.tool("user", "setexpiry", name, "--noexpiry")

    def provision(self) -> None:
        """Make the domain: 6 s of processor time."""
        self.tool(
            *("domain", "provision", f"--realm={REALM}", f"--domain={NETBIOS}", "--server-role=dc"),
            *("--dns-backend=SAMBA_INTERNAL", f"--adminpass={PASSWORD}", f"--host-name={self.place.name}"),
            *(f"--host-ip={self.address}", f"--host-ip6={self.address6}"),
        )
        self._furnish()

    def adopt(self, provisioned: Path) -> None:
        """Begin with a copy of what the controller of the same place in that directory had when it was stopped."""
        for name in ("etc", "lib"):
            # Extended attributes are sysvol's access rights.
            subprocess.run(["cp", "-a", f"{provisioned / name}/.", self.directory / name], check=True)

    def join(self, other: "Centre", *options: str) -> None:
        """Become one more controller of the domain of `other`, which runs."""
        self._resolve_by(other.address)
        self.remote_tool("domain", "join", REALM, "DC", "--dns-backend=SAMBA_INTERNAL", *options)
        self._furnish()
        self._resolve_by(self.address, other.address)

    def copy_sysvol(self, other: "Centre") -> None:
        """Samba does not replicate it. For both the same users and groups have the same numbers afterwards."""
        for name in ("lib/sysvol", "lib/private/idmap.ldb"):
            subprocess.run(["rm", "-rf", self.directory / name], check=True)
            subprocess.run(["cp", "-a", other.directory / name, self.directory / name], check=True)

    def _resolve_by(self, *servers: str) -> None:
        lines = [f"search {DOMAIN}", *(f"nameserver {server}" for server in servers)]
        (self.directory / "resolv.conf").write_text("\n".join(lines) + "\n")

    def _furnish(self) -> None:
        conf = _SMB_CONF.format(NAME=self.place.name.upper(), REALM=REALM, NETBIOS=NETBIOS, DOMAIN=DOMAIN)
        (self.directory / "etc" / "smb.conf").write_text(conf)
        # Samba's own would take it half a minute on a busy machine.
        make_certificate(self.directory / "lib" / "private" / "tls", self.host, (self.address, self.address6))

    def start(self) -> None:
        """Start Samba and wait until it serves, and DNS knows it in its site."""
        with (self.directory / "samba.log").open("ab") as log:
            command = ["samba", "--foreground", "--no-process-group", "--debug-stdout"]
            self._samba = subprocess.Popen(
                self.inside(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._serves, f"{self.place.name} serves")

    def _serves(self) -> bool:
        assert self._samba is not None
        assert self._samba.poll() is None, "samba has ended"
        if not self.listens(self.address):
            return False
        asked = [f"@{self.address}", "+short", "+time=5", "SRV", f"_kerberos._tcp.{SITE}._sites.{DOMAIN}"]
        said = subprocess.run(["dig", *asked], capture_output=True, text=True).stdout
        return self.host in said

    def listens(self, address: str) -> bool:
        """Whether all of its services take connections there."""
        for port in PORTS:
            try:
                socket.create_connection((address, port), timeout=5.0).close()
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """End Samba in an orderly way."""
        assert self._samba is not None
        children = Path(f"/proc/{self._samba.pid}/task/{self._samba.pid}/children").read_text().split()
        for pid in children:  # nsenter has forked into the pid namespace
            os.kill(int(pid), signal.SIGTERM)
        self._samba.wait(_START_S)
        self._samba = None

    def restart(self) -> None:
        """Stop and start Samba."""
        self.stop()
        self.start()

    def signal(self, number: signal.Signals, *tasks: str) -> None:
        """To the processes of those tasks ("kdc", "ldap", "dns", "drepl", "smbd"), or to all of Samba.

        SIGSTOP hangs them, SIGCONT lets them go on.
        """
        pids = []
        for line in self.run("ps", "-e", "-o", "pid=,args=").splitlines():
            pid, _, args = line.strip().partition(" ")
            if any(f"task[{task}]" in args or f"/{task} " in args for task in tasks) or (
                not tasks and ("samba" in args or "/smbd " in args or "winbindd" in args)
            ):
                pids.append(pid)
        assert pids
        kill = self.inside("kill", f"-{number.value}", *pids)
        subprocess.run(kill, stderr=subprocess.DEVNULL, check=False)  # one of them may have ended
        if number == signal.SIGCONT and self._samba is not None:
            self._samba.send_signal(number)  # nsenter stops with its child, and stays so

    def log(self) -> str:
        """What Samba has said."""
        file = self.directory / "samba.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def close(self) -> None:
        """End all that runs in its namespaces, at once, and take its card out."""
        # The kernel removes a namespace's cards when it has time, perhaps after the next of that name is put in.
        subprocess.run(["ip", "link", "delete", f"c-{self.place.name}"], check=True)
        os.kill(self.pid, signal.SIGKILL)  # pid 1 there, which ends after all others
        self._namespaces.wait()
        assert self._namespaces.stdin is not None
        assert self._namespaces.stdout is not None
        self._namespaces.stdin.close()
        self._namespaces.stdout.close()
        if self._samba is not None:
            self._samba.kill()
            self._samba.wait()
