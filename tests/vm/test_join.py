"""From the centre's stage file to a branch's controller, with real Samba on both sides, each in its own namespaces."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from tests.vm.box import until
from tests.vm.centre import ADMINISTRATOR, DOMAIN, PASSWORD, REALM, Centre, Place
from vmhost.health.result import state_of
from vmhost.health.round import check
from vmhost.health.target import Directory

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)
SITE = "Branch-1"


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
        command = ["env", f"PYTHONPATH={ROOT}", "/usr/bin/python3", "-P", "-m", "vmhost.directory.guest.join"]
        return self.inside(*command, what, *options)

    def begin(self) -> "subprocess.Popen[bytes]":
        """`guest("begin")`, which goes on."""
        return subprocess.Popen(self._command("begin"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def plant(self, stage: Path) -> None:
        """Give it what was staged."""
        (self.directory / "seed").mkdir(exist_ok=True)
        (self.directory / "seed" / "seed.json").write_text(stage.read_text())
        self.guest("machine")

    def _serves(self) -> bool:
        asked = ["dig", "@127.0.0.1", "+short", "+time=5", "SRV", f"_ldap._tcp.{DOMAIN}"]
        return subprocess.run(self.inside(*asked), capture_output=True).stdout.count(b" 389 ") > 0

    def logs_on(self, user: str, password: str) -> bool:
        """Whether this controller, and no other, gives a ticket."""
        alone = self.directory / "alone.conf"
        alone.write_text(
            f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\n[realms]\n"
            f"{REALM} = {{\nkdc = 127.0.0.1\n}}\n"
        )
        command = ["env", f"KRB5_CONFIG={alone}", "kinit", "-c", "MEMORY:", f"{user}@{REALM}"]
        asked = self.inside(*command)
        return subprocess.run(asked, input=f"{password}\n", capture_output=True, text=True).returncode == 0

    def lists(self) -> bool:
        """Whether its own DNS names it as the site's directory server."""
        asked = ["dig", "@127.0.0.1", "+short", "SRV", f"_ldap._tcp.{SITE}._sites.{DOMAIN}"]
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


def _stage(centre: Centre, file: Path, branch: Centre, *options: str, fails: bool = False) -> str:
    """`branchline vm stage directory` on the centre's controller: what it says."""
    file.parent.joinpath("password").write_text(PASSWORD)
    command = [
        *(sys.executable, "-m", "appliance.cli", "vm", "stage", "directory", str(file)),
        *("--realm", DOMAIN, "--server", centre.host, "--host", branch.place.name),
        *("--user", ADMINISTRATOR, "--password-file", str(file.parent / "password")),
    ]
    done = subprocess.run(centre.inside(*command, *options), capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def _health(controller: Centre, account: str, password: str, directory: Path, site: str = SITE) -> str:
    """What the box makes of it, logging on as `account`."""
    secret = directory / "secret"
    secret.touch(mode=0o600)
    secret.write_text(password)
    target = Directory(
        address=controller.address,
        realm=REALM,
        host=controller.host,
        site=site,
        account=account,
        secret=str(secret),
    )
    results = asyncio.run(check(target))
    print([result for result in results if not result.ok])
    return state_of(results)


@pytest.fixture
def group(centre: Centre) -> str:
    """Whose passwords the branch keeps; alice is in it, by way of another group, bob and carol are not."""
    if "branch-1" not in centre.tool("group", "list"):
        centre.tool("group", "add", "branch-1")
        centre.tool("group", "add", "inner")
        for user in ("alice-1", "bob-1", "carol-1"):
            centre.add_user(user, "Wonderland-1")
        centre.tool("group", "addmembers", "inner", "alice-1")
        centre.tool("group", "addmembers", "branch-1", "inner")
    return "branch-1"


def test_an_rodc_serves_and_goes_on_without_the_centre(centre: Centre, group: str, tmp_path: Path) -> None:
    stage = tmp_path / "br1.stage"
    with _branch("br1", 21) as branch:
        place = ("--site", SITE, "--address", str(branch.place.v4), "--subnet", "10.1.0.0/16")
        said = _stage(centre, stage, branch, *place, "--prefetch", "Domain Admins", fails=True)
        assert "Denied RODC Password Replication Group" in said
        _stage(centre, stage, branch, *place, "--prefetch", group)
        assert os.stat(stage).st_mode & 0o777 == 0o600
        branch.plant(stage)
        branch.guest("begin")
        branch.start()
        assert branch.guest("tend")["done"]
        assert branch.logs_on("alice-1", "Wonderland-1")
        until(branch.lists, "its DNS lists it")
        assert _health(branch, "alice-1", "Wonderland-1", tmp_path) == "healthy"
        assert _health(centre, "alice-1", "Wonderland-1", tmp_path, site="") == "healthy"
        centre.tool("group", "addmembers", "branch-1", "carol-1")
        centre.tool("user", "setpassword", "alice-1", "--newpassword=Looking.Glass-2")
        branch.guest("tend")
        centre.cut()
        try:
            assert branch.logs_on("alice-1", "Looking.Glass-2")
            assert branch.logs_on("carol-1", "Wonderland-1")
            assert not branch.logs_on("bob-1", "Wonderland-1")
            # It may have tried to replicate meanwhile.
            assert _health(branch, "alice-1", "Looking.Glass-2", tmp_path) in ("healthy", "degraded")
        finally:
            centre.mend()


def test_a_full_controller_whose_join_is_cut_off(centre: Centre, tmp_path: Path) -> None:
    stage = tmp_path / "br2.stage"
    with _branch("br2", 22) as branch:
        place = ("--role", "dc", "--site", SITE, "--address", str(branch.place.v4))
        _stage(centre, stage, branch, *place)
        said = _stage(centre, tmp_path / "other", branch, *place, fails=True)
        assert "it has not been used; `--again` makes it anew" in said
        _stage(centre, stage, branch, *place, "--again")
        branch.plant(stage)
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
        branch.add_user("dave-2", "Wonderland-1")
        centre.cut()
        try:
            assert branch.logs_on("dave-2", "Wonderland-1")
            assert branch.logs_on(ADMINISTRATOR, PASSWORD)
        finally:
            centre.mend()
        with _branch("br3", 23) as thief:
            thief.plant(stage)
            assert "has been used before" in str(thief.guest("begin", fails=2)["error"])
        branch.stop()
        _stage(centre, stage, branch, "--remove")
        assert not stage.exists()
        assert "BR2$" not in centre.tool("computer", "list")
        assert "there is no controller br2" in _stage(centre, stage, branch, "--remove", fails=True)


def test_what_cannot_be_staged(centre: Centre, tmp_path: Path) -> None:
    """Each with what is wrong; nothing is changed."""
    stage = tmp_path / "stage"
    before = centre.tool("computer", "list")
    place = Place("centre", IPv4Interface("10.1.0.24/16"), IPv6Interface("fd00:1::24/64"))
    branch = Branch.__new__(Branch)
    branch.place = place
    here = ("--site", SITE, "--address", str(place.v4))
    assert "was not made by Branchline" in _stage(centre, stage, branch, *here, "--again", fails=True)
    branch.place = Place("br4", place.v4, place.v6)
    assert "no such user or group" in _stage(centre, stage, branch, *here, "--allow", "nobody-4", fails=True)
    assert "cannot be a site" in _stage(centre, stage, branch, *here, "--site", "a b", fails=True)
    assert "has host bits set" in _stage(centre, stage, branch, *here, "--subnet", "10.1.0.1/16", fails=True)
    assert "password of" in _stage(centre, stage, branch, *here, "--user", "Nobody", fails=True)
    assert "--user, `kinit`" in _stage(centre, stage, branch, *here, "--user", "", fails=True)
    assert "not of OTHER.EXAMPLE" in _stage(
        centre, stage, branch, *here, "--realm", "other.example", fails=True
    )
    assert centre.tool("computer", "list") == before
    assert not stage.exists()


def test_a_new_domain(furnished: None, tmp_path: Path) -> None:
    with _branch("br5", 25) as branch:
        seed = {
            "format": 1,
            "role": "new",
            "realm": REALM,
            "host": "br5",
            "site": SITE,
            "address": str(branch.place.v4),
            "halves": {"workgroup": "AD"},
            "password": PASSWORD,
        }
        stage = tmp_path / "seed.json"
        stage.write_text(json.dumps(seed))
        branch.plant(stage)
        branch.guest("begin")
        branch.start()
        assert branch.guest("tend")["done"]
        assert branch.logs_on(ADMINISTRATOR, PASSWORD)
        assert branch.lists()
