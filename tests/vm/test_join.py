"""From the centre's stage file to a branch's controller, with real Samba on both sides, each in its own namespaces."""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

import pytest

from tests.vm.centre import ADMINISTRATOR, DOMAIN, PASSWORD, REALM, Centre, Place
from tests.vm.centre import SITE as CENTRE_SITE
from tests.vm.joining import ROOT, SITE, logs_on, stage, try_to_stage
from vmhost.directory import tls
from vmhost.health.result import Result, state_of
from vmhost.health.round import check
from vmhost.health.target import Directory

pytestmark = pytest.mark.timeout(1200)


CHECKS = ("dns", "ldap", "kerberos", "clock", "sysvol", "replication")


class Branch(Centre):
    """A machine of the branch, which does by itself what its seed says."""

    def __init__(self, directory: Path, place: Place) -> None:
        super().__init__(directory, place)
        # It writes its name and network there: never to the /etc of the machine that runs the tests.
        for name in ("upper", "work"):
            (directory / name).mkdir()
        layers = f"lowerdir=/etc,upperdir={directory}/upper,workdir={directory}/work"
        self.run("mount", "-t", "overlay", "overlay", "-o", layers, "/etc")
        self.run("mount", "--bind", str(directory / "etc"), "/etc/samba")

    def guest(self, what: str, *, fails: int = 0) -> dict[str, object]:
        """`join.py` as the machine's units run it; what it has said last."""
        done = subprocess.run(self._command(what), capture_output=True, text=True)
        assert done.returncode == fails, done.stdout + done.stderr
        status = self.directory / "status.json"
        said: dict[str, object] = json.loads(status.read_text()) if status.exists() else {}
        return said

    def _command(self, what: str) -> list[str]:
        place = self.directory
        options = [f"--seed={place}/seed", f"--data={place}/data", f"--status={place}/status.json"]
        command = ["env", "-C", str(ROOT), "/usr/bin/python3", "-m", "vmhost.directory.guest.join"]
        return self.inside(*command, what, *options)

    def begin(self) -> "subprocess.Popen[bytes]":
        """`guest("begin")`, which goes on."""
        return subprocess.Popen(self._command("begin"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def plant(self, stage: Path, *dead: str) -> None:
        """Give it what was staged, after controllers that are `dead`."""
        (self.directory / "seed").mkdir(exist_ok=True)
        seed = json.loads(stage.read_text())
        seed["centre"] = [*dead, *seed.get("centre", [])]
        seed["tls"] = tls.make(self.host, str(self.place.v4))
        (self.directory / "seed" / "seed.json").write_text(json.dumps(seed))
        self.guest("machine")

    def _serves(self) -> bool:
        if not any(self.listens(address) for address in (self.address, self.address6)):
            return False
        asked = ["dig", "@127.0.0.1", "+short", "+time=5", "SRV", f"_ldap._tcp.{DOMAIN}"]
        return subprocess.run(self.inside(*asked), capture_output=True).stdout.count(b" 389 ") > 0

    def logs_on(self, user: str, password: str) -> bool:
        """Whether this controller, and no other, gives a ticket."""
        return logs_on("127.0.0.1", user, password, self.directory, *self.inside())

    def lists(self, site: str = SITE) -> bool:
        """Whether its own DNS names it as the site's directory server."""
        asked = ["dig", "@127.0.0.1", "+short", "SRV", f"_ldap._tcp.{site}._sites.{DOMAIN}"]
        return self.host in self.run(*asked)


@contextmanager
def _branch(name: str, number: int) -> Iterator[Branch]:
    place = Place(name, IPv4Interface(f"10.1.0.{number}/16"), IPv6Interface(f"fd00:1::{number}/64"))
    with tempfile.TemporaryDirectory(prefix="branch-", dir="/run") as directory:
        branch = Branch(Path(directory), place)
        try:
            yield branch
        finally:
            branch.close()
            print(f"--- samba.log of {name}\n{branch.log()}")


def _health(
    controller: Centre, health: dict[str, str], directory: Path, site: str = SITE, ca: str = ""
) -> list[Result]:
    """What the box makes of it, logging on by what was staged as `health`."""
    secret = directory / "secret"
    secret.touch(mode=0o600)
    secret.write_text(health["password"])
    target = Directory(
        address=controller.address,
        realm=REALM,
        host=controller.host,
        site=site,
        account=health["account"],
        secret=str(secret),
        ca=ca,
        within=20.0,
    )
    return asyncio.run(check(target))


def test_an_rodc_serves_and_goes_on_without_the_centre(centre: Centre, group: str, tmp_path: Path) -> None:
    file, before = tmp_path / "br1.stage", centre.tool("user", "list")
    with _branch("br1", 21) as branch:
        place = ("--site", SITE, "--address", str(branch.place.v4), "--subnet", "10.1.0.0/16")
        said = stage(centre, file, branch.place.name, *place, "--prefetch", "Domain Admins", fails=True)
        assert "Denied RODC Password Replication Group" in said
        stage(centre, file, branch.place.name, *place, "--prefetch", group)
        assert os.stat(file).st_mode & 0o777 == 0o600
        health = json.loads(file.read_text())["health"]
        branch.plant(file)
        branch.guest("begin")
        branch.start()
        assert branch.guest("tend")["done"]
        assert branch.logs_on("alice-1", "Wonderland-1")
        assert branch.lists()
        ca = str(branch.directory / "lib/private/tls/ca.pem")
        found = _health(branch, health, tmp_path, ca=ca)
        assert state_of(found) == "healthy", found
        assert len(found) == len(CHECKS)
        found = _health(centre, health, tmp_path, site="")
        assert "no partner" not in found[-1].evidence, found
        centre.tool("group", "addmembers", "branch-1", "carol-1")
        centre.tool("user", "setpassword", "alice-1", "--newpassword=Looking.Glass-2")
        branch.guest("tend")
        centre.cut()
        try:
            assert branch.logs_on("alice-1", "Looking.Glass-2")
            assert branch.logs_on("carol-1", "Wonderland-1")
            assert not branch.logs_on("bob-1", "Wonderland-1")
            # It may have tried to replicate meanwhile.
            found = _health(branch, health, tmp_path, ca=ca)
            assert state_of(found) in ("healthy", "degraded"), found
        finally:
            centre.mend()
        branch.stop()
        said = stage(centre, file, branch.place.name, "--remove")
        (changed,) = [line for line in said.splitlines() if line.startswith("Change these passwords")]
        assert {"alice-1", "carol-1"} <= set(changed.rpartition(": ")[2].split(", "))
        assert "bob-1" not in changed
        assert not any(name in changed for name in ("krbtgt", health["account"]))
        assert centre.tool("user", "list") == before


def test_a_full_controller_whose_join_is_cut_off(centre: Centre, tmp_path: Path) -> None:
    file = tmp_path / "br2.stage"
    with _branch("br2", 22) as branch:
        place = ("--role", "dc", "--site", SITE, "--address", str(branch.place.v4))
        stage(centre, file, branch.place.name, *place)
        said = stage(centre, tmp_path / "other", branch.place.name, *place, fails=True)
        assert "it has not been used; `--again` makes it anew" in said
        other = ("--site", SITE, "--address", str(branch.place.v4), "--prefetch", "Domain Admins", "--again")
        assert "may not be kept" in stage(centre, file, branch.place.name, *other, fails=True)
        assert "BR2$" in centre.tool("computer", "list")
        centre.run("kinit", "-c", str(tmp_path / "ticket"), ADMINISTRATOR, input=f"{PASSWORD}\n")
        ticket = {**os.environ, "KRB5CCNAME": str(tmp_path / "ticket")}
        stage(centre, file, branch.place.name, *place, "--again", ticket=ticket)
        branch.plant(file, f"dead.{DOMAIN}")
        beginning = branch.begin()
        assert beginning.stdout is not None
        while b"DomainDnsZones" not in beginning.stdout.readline():
            assert beginning.poll() is None
        (inside,) = Path(f"/proc/{beginning.pid}/task/{beginning.pid}/children").read_text().split()
        os.kill(int(inside), signal.SIGKILL)
        beginning.communicate()
        branch.guest("begin")
        branch.start()
        assert branch.guest("tend")["done"]
        assert branch.lists()
        branch.add_user("dave-2", "Wonderland-1")
        centre.cut()
        try:
            assert branch.logs_on("dave-2", "Wonderland-1")
            assert branch.logs_on(ADMINISTRATOR, PASSWORD)
        finally:
            centre.mend()
        with _branch("br3", 23) as thief:
            thief.plant(file)
            assert "has been used before" in str(thief.guest("begin", fails=2)["error"])
        branch.stop()
        stage(centre, file, branch.place.name, "--remove")
        assert not file.exists()
        assert "BR2$" not in centre.tool("computer", "list")
        assert "there is no controller br2" in stage(centre, file, branch.place.name, "--remove", fails=True)


def test_what_cannot_be_staged(centre: Centre, tmp_path: Path) -> None:
    """Each with what is wrong; nothing is changed."""
    file = tmp_path / "stage"
    centre.tool("computer", "create", "old-4")
    centre.tool("user", "disable", "old-4$")
    before = centre.tool("computer", "list")
    place = Place("centre", IPv4Interface("10.1.0.24/16"), IPv6Interface("fd00:1::24/64"))
    branch = Branch.__new__(Branch)
    branch.place = place
    here = ("--site", SITE, "--address", str(place.v4))
    assert "was not made by Branchline" in stage(
        centre, file, branch.place.name, *here, "--again", fails=True
    )
    assert "was not made by Branchline" in stage(centre, file, "old-4", *here, "--remove", fails=True)
    branch.place = Place("br4", place.v4, place.v6)
    assert "no such user or group" in stage(
        centre, file, branch.place.name, *here, "--allow", "nobody-4", fails=True
    )
    assert "cannot be a site" in stage(centre, file, branch.place.name, *here, "--site", "a b", fails=True)
    assert "has host bits set" in stage(
        centre, file, branch.place.name, *here, "--subnet", "10.1.0.1/16", fails=True
    )
    assert "password of" in stage(centre, file, branch.place.name, *here, "--user", "Nobody", fails=True)
    assert "--user, `kinit`" in stage(centre, file, branch.place.name, *here, "--user", "", fails=True)
    assert "not of OTHER.EXAMPLE" in stage(
        centre, file, branch.place.name, *here, "--realm", "other.example", fails=True
    )
    assert centre.tool("computer", "list") == before
    assert not file.exists()


def test_two_that_stage_the_same_host(centre: Centre, tmp_path: Path) -> None:
    """One of them does; the other leaves what that makes alone."""
    options = ("--role", "dc", "--site", SITE, "--address", "10.1.0.26/16")
    with ThreadPoolExecutor(2) as both:
        files = tmp_path / "one", tmp_path / "other"
        tries = list(both.map(lambda file: try_to_stage(centre, file, "br6", *options), files))
    (refused,) = [done.stderr for done in tries if done.returncode]
    assert "already" in refused
    (file,) = [file for file in files if file.exists()]
    assert "BR6$" in centre.tool("computer", "list")
    assert "chk-br6" in centre.tool("user", "list")
    stage(centre, file, "br6", "--remove")


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_new_domain(furnished: None, tmp_path: Path, family: str) -> None:
    with _branch("br5", 25) as branch:
        seed: dict[str, Any] = {
            "format": 1,
            "role": "new",
            "realm": REALM,
            "host": "br5",
            "site": SITE,
            "address": str(getattr(branch.place, family)),
            "halves": {"workgroup": "AD"},
            "password": PASSWORD,
            "health": {"account": "chk-br5", "password": "Look.at.me-1"},
        }
        file = tmp_path / "seed.json"
        file.write_text(json.dumps(seed))
        branch.plant(file)
        branch.guest("begin")
        branch.start()
        assert branch.guest("tend")["done"]
        assert branch.logs_on(ADMINISTRATOR, PASSWORD)
        assert branch.lists()
        if family == "v4":
            ca = str(branch.directory / "lib/private/tls/ca.pem")
            found = _health(branch, seed["health"], tmp_path, ca=ca)
            assert state_of(found) == "healthy", found
            assert len(found) == len(CHECKS)
        known = {kind: branch.run("dig", "@127.0.0.1", "+short", kind, branch.host) for kind in ("A", "AAAA")}
        other = {"v4": "AAAA", "v6": "A"}[family]
        assert known.pop(other) == ""
        assert list(known.values()) == [f"{getattr(branch.place, family).ip}\n"]


def test_a_domain_goes_on_from_its_archive(provisioned: Path, tmp_path: Path) -> None:
    """On a controller of another name and address, and no other is left in it."""
    archive = tmp_path / "domain.tar.bz2"
    with _branch("br6", 26) as lost:
        lost.adopt(provisioned)
        lost.add_user("erin-6", "Wonderland-1")
        lost.tool("domain", "backup", "offline", f"--targetdir={lost.directory}/data")
        (made,) = (lost.directory / "data").glob("*.tar.bz2")
        archive.write_bytes(made.read_bytes())
    with _branch("br7", 27) as branch:
        seed: dict[str, Any] = {
            "format": 1,
            "role": "new",
            "realm": REALM,
            "host": "br7",
            "site": CENTRE_SITE,
            "address": str(branch.place.v4),
            "archive": archive.name,
            "health": {"account": "chk-br7", "password": "Look.at.me-1"},
            "tls": tls.make(branch.host, str(branch.place.v4)),
        }
        (branch.directory / "seed").mkdir()
        (branch.directory / "seed" / archive.name).write_bytes(archive.read_bytes())
        file = tmp_path / "seed.json"
        file.write_text(json.dumps({**seed, "host": "centre"}))
        branch.plant(file)
        assert "Samba cannot make the domain from its archive" in str(branch.guest("begin", fails=2)["error"])
        file.write_text(json.dumps(seed))
        branch.plant(file)
        branch.guest("begin")
        assert not json.loads((branch.directory / "data" / "joined").read_text())["archive"]
        branch.start()
        assert branch.guest("tend")["done"]
        assert branch.logs_on("erin-6", "Wonderland-1")
        assert branch.logs_on(ADMINISTRATOR, PASSWORD)
        assert branch.lists(CENTRE_SITE)
        asked = ["dig", "@127.0.0.1", "+short", "SRV", f"_ldap._tcp.{DOMAIN}"]
        assert branch.run(*asked).split() == ["0", "100", "389", f"{branch.host}."]
        assert "CENTRE$" not in branch.tool("computer", "list")
        found = _health(branch, seed["health"], tmp_path, site=CENTRE_SITE)
        assert state_of(found) == "healthy", found
        assert len(found) == len(CHECKS)
