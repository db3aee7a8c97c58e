"""What the tools of a round need as files: in a directory that only its owner can read, gone after the round."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vmhost.health import tool
from vmhost.health.target import Directory

_LONGEST_SECRET = 1024
_KRB5 = """[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_lookup_realm = false
rdns = false
udp_preference_limit = 1
[realms]
{realm} = {{
 kdc = {kdc}
}}
[domain_realm]
.{domain} = {realm}
"""


class SecretError(Exception):
    """The password of the account cannot be had; the message says why and what to do."""


def read_secret(path: Path) -> str:
    """The password in the file, without the end of its line. SecretError."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            plain = stat.S_ISREG(found.st_mode)
            raw = file.read(_LONGEST_SECRET + 1) if plain else b""
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}; write the account's password there") from None
    if found.st_uid != os.geteuid():  # whoever has written it could read what is asked with it
        raise SecretError(f"{path}: belongs to another user; `chown root {path}`")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SecretError(f"{path}: others may read it; `chmod 600 {path}`")
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > _LONGEST_SECRET or "\n" in text or "\0" in text:
        raise SecretError(f"{path}: is not a password; write one line of text")
    return text


class Private:
    """Files of one round in `directory`."""

    def __init__(self, directory: Path, target: Directory) -> None:
        self._directory = directory
        self.secret = read_secret(Path(target.secret)) if target.account else ""
        address = f"[{target.address}]" if ":" in target.address else target.address
        realm = target.realm.upper()
        krb5 = self._write("krb5.conf", _KRB5.format(realm=realm, domain=realm.lower(), kdc=address))
        self.ticket = directory / "ticket"
        self.kerberos = {"KRB5_CONFIG": str(krb5), "KRB5CCNAME": f"FILE:{self.ticket}"}
        """The environment in which the target is the realm's only KDC."""
        self.named: tuple[str, ...] = ()
        """Before a command, lets it find the target by its name; empty if this machine does not allow that.

        TLS has to be told a name: GnuTLS, and so Samba, ends a connection to an IPv6 address in its place.
        """
        self.password = self._write("password", self.secret)
        """As ldapsearch reads it: no end of line."""
        self.logon = self._write(
            "logon", f"username = {target.account}\npassword = {self.secret}\ndomain = {realm}\n"
        )
        """As smbclient reads it."""

    async def know(self, host: str, address: str) -> None:
        """Let `named` tools find `host` at `address`, whatever DNS says of it."""
        if not host:
            return
        hosts = self._write("hosts", f"127.0.0.1 localhost\n{address} {host}\n")
        rights = () if os.geteuid() == 0 else ("--map-root-user",)
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        named = ("unshare", *rights, "--mount", "sh", "-c", script, str(hosts))
        if (await tool.run(*named, "true", within=5.0)).status == 0:
            self.named = named

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path
