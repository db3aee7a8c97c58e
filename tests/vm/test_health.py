"""Every check of a directory on real controllers: the service as it should be, and each thing that can break."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.vm.box import VmBox, until
from tests.vm.centre import DOMAIN, REALM, SITE, Centre
from vmhost.health.result import Result, state_of
from vmhost.health.round import check
from vmhost.health.target import Directory

pytestmark = pytest.mark.timeout(1200)  # the first makes two controllers
CHECKS = ["dns", "ldap", "kerberos", "clock", "sysvol", "replication"]
PARTITIONS = (
    *("", "CN=Configuration,", "CN=Schema,CN=Configuration,"),
    *("DC=DomainDnsZones,", "DC=ForestDnsZones,"),
)
_LIES = """
import socket, sys, threading
def lie(connection):
    try:
        while True:
            connection.sendall(bytes(range(256)) * 256)
    except OSError:
        connection.close()
def serve(listener):
    while True:
        threading.Thread(target=lie, args=(listener.accept()[0],), daemon=True).start()
for port in (53, 88, 389, 445):
    threading.Thread(target=serve, args=(socket.create_server((sys.argv[1], port)),), daemon=True).start()
datagrams = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
def garble(one):
    while True:
        asked, sender = one.recvfrom(2048)
        one.sendto(asked[:2] + bytes(range(250)), sender)
for one, port in zip(datagrams, (53, 88, 123)):
    one.bind((sys.argv[1], port))
    threading.Thread(target=garble, args=(one,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def target(branch: Centre, centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> Directory:
    """The branch's controller, with an account for the checks."""
    secret = tmp_path_factory.mktemp("account") / "secret"
    secret.touch(mode=0o600)
    secret.write_text("Canary-1\n")
    centre.add_user("canary", "Canary-1")
    _pull(branch, centre)
    return Directory(
        address=branch.address,
        realm=REALM,
        host=branch.host,
        site=SITE,
        account="canary",
        secret=str(secret),
        ca=str(branch.directory / "lib" / "private" / "tls" / "ca.pem"),
        within=20.0,
    )


def _pull(branch: Centre, centre: Centre, *partitions: str) -> None:
    for partition in partitions or ("",):
        context = f"{partition}DC={DOMAIN.replace('.', ',DC=')}"
        branch.remote_tool("drs", "replicate", branch.host, centre.host, context)


def _found(target: Directory, **changes: object) -> dict[str, Result]:
    results = asyncio.run(check(msgspec.structs.replace(target, **changes)))
    return {result.name: result for result in results}


def _wrong(results: dict[str, Result]) -> list[str]:
    assert all(result.remedy for result in results.values() if not result.ok)
    return [name for name, result in results.items() if not result.ok]


@contextmanager
def _hung(controller: Centre, *tasks: str) -> Iterator[None]:
    try:
        controller.signal(signal.SIGSTOP, *tasks)
        yield
    finally:
        controller.signal(signal.SIGCONT, *tasks)


def test_all_is_well(target: Directory, branch: Centre, centre: Centre) -> None:
    for address in (branch.address, branch.address6):
        found = _found(target, address=address)
        assert list(found) == sorted(found, key=CHECKS.index)
        assert _wrong(found) == [], found
        assert len(found) == len(CHECKS)
    assert "with a ticket: 2 policies" in found["sysvol"].evidence
    assert "the oldest of 5 partitions" in found["replication"].evidence
    assert "by LDAP" in found["clock"].evidence
    assert "by the KDC" in found["clock"].evidence
    # From somewhere else, and the centre's own, which pulls from the branch or from nobody yet.
    elsewhere = Path(f"/proc/{centre.pid}/ns/net")
    results = asyncio.run(check(target, namespace=elsewhere))
    assert state_of(results) == "healthy"
    ca = str(centre.directory / "lib" / "private" / "tls" / "ca.pem")
    found = _found(target, address=centre.address, host=centre.host, ca=ca)
    assert _wrong(found) in ([], ["replication"]), found


def test_the_box_tells_when_a_machine_is_not_well(
    box: VmBox, image: Path, target: Directory, branch: Centre, began: float
) -> None:
    """Its service is the branch's controller; what boots here is the tiny guest."""
    recipe = box.recipe("directory", image)
    plan = {"kind": "directory", "every": "5s", "within": "10s", "address": branch.address, "realm": REALM}
    plan |= {"account": target.account, "secret": str(recipe.parent / "no-such-file")}
    lines = "\n".join(f'{key} = "{value}"' for key, value in plan.items())
    recipe.write_text(f"{recipe.read_text()}[health]\n{lines}\n")
    assert "health.secret: " in box.vm("create", recipe, fails=True)
    recipe.write_text(recipe.read_text().replace(plan["secret"], target.secret))
    box.vm("create", recipe)
    try:
        until(lambda: _health(box) == "healthy", "it is healthy")
        told = json.loads(box.vm("health", "directory", "--json"))
        assert [result["name"] for result in told["results"]] == CHECKS
        assert box.vm("health").startswith("directory: healthy (")
        with _hung(branch, "kdc"):
            until(lambda: _health(box) == "failed", "it has failed")
            box.vm("health", "directory", fails=True)
        until(lambda: _health(box) == "healthy", "it is healthy again")
    finally:
        box.vm("kill", "directory")
        until(lambda: _health(box) == "", "it is off")
        box.vm("delete", "directory", "--disks", "--yes")
    events = [one for one in box.call("events", since=began) if one["kind"] == "vm.health"]
    told = [one for one in events if one["evidence"]["state"] != "degraded"]  # what comes back last is late
    assert [one["evidence"]["state"] for one in told] == ["healthy", "failed", "healthy"]
    assert [one["severity"] for one in told] == ["info", "error", "info"]
    assert "kerberos: a ticket for canary@AD.EXAMPLE: no answer within" in told[1]["text"]


def _health(box: VmBox) -> str:
    return str(json.loads(box.vm("list", "--json"))["health"])


def test_a_person_asks(target: Directory, branch: Centre) -> None:
    asked = [sys.executable, "-m", "appliance.cli", "vm", "check", branch.address6, "--realm", REALM]
    said: list[str] = []

    def finds_all_well() -> bool:
        done = subprocess.run(asked, capture_output=True, text=True)
        said.append(done.stdout)
        return done.returncode == 0 and "degraded" not in done.stdout

    until(finds_all_well, "all is well")
    assert said[-1].startswith(f"{branch.address6}: healthy\n  ok   dns ")
    asked += ["--account", target.account, "--secret", target.secret, "--json"]
    until(finds_all_well, "all is well")
    assert [json.loads(line)["name"] for line in said[-1].splitlines()] == CHECKS
    asked[5] = "10.1.0.1"
    assert subprocess.run(asked, capture_output=True).returncode == 1


def test_samba_hangs(target: Directory, branch: Centre) -> None:
    with _hung(branch):
        found = _found(target, within=2.0)
    assert set(_wrong(found)) == set(CHECKS)
    until(lambda: _wrong(_found(target)) == [], "all is well again")


def test_the_kdc_hangs_and_the_rest_goes_on(target: Directory, branch: Centre) -> None:
    with _hung(branch, "kdc"):
        found = _found(target, within=10.0)
    assert _wrong(found) == ["kerberos"]
    assert "by NTLM, as there is no ticket" in found["sysvol"].evidence
    until(lambda: _wrong(_found(target)) == [], "all is well again")


def test_accounts_that_cannot_log_on(target: Directory, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    secret.chmod(0o644)
    found = _found(target, secret=str(secret))
    assert _wrong(found) == ["account"]
    assert f"chmod 600 {secret}" in found["account"].remedy
    secret.chmod(0o600)
    found = _found(target, secret=str(secret))
    assert set(_wrong(found)) == {"ldap", "kerberos", "sysvol", "replication"}
    assert "Invalid credentials" in found["ldap"].evidence
    assert "Password incorrect" in found["kerberos"].evidence


def test_dns_without_the_records_of_the_site(target: Directory, branch: Centre) -> None:
    record = [f"_ldap._tcp.{SITE}._sites", "SRV", f"{branch.host} 389 0 100"]
    branch.remote_tool("dns", "delete", branch.address, DOMAIN, *record)
    try:
        found = _found(target)
    finally:
        branch.remote_tool("dns", "add", branch.address, DOMAIN, *record)
    assert _wrong(found) == ["dns"]
    assert f"_ldap._tcp.{SITE}._sites.{DOMAIN}: names centre.{DOMAIN} and not" in found["dns"].evidence
    assert "NXDOMAIN, no SRV" in _found(target, site="Elsewhere")["dns"].evidence


def test_sysvol_without_policies(target: Directory, branch: Centre) -> None:
    policies = branch.directory / "lib" / "sysvol" / DOMAIN / "Policies"
    policies.rename(policies.with_name("gone"))
    try:
        found = _found(target)
    finally:
        policies.with_name("gone").rename(policies)
    assert _wrong(found) == ["sysvol"]
    assert state_of(found.values()) == "degraded"


def test_replication_that_fails_and_goes_on(target: Directory, branch: Centre, centre: Centre) -> None:
    centre.remote_tool("drs", "options", centre.host, "--dsa-option=+DISABLE_OUTBOUND_REPL")
    try:
        with pytest.raises(AssertionError, match="failed"):
            _pull(branch, centre)
        found = _found(target)
    finally:
        centre.remote_tool("drs", "options", centre.host, "--dsa-option=-DISABLE_OUTBOUND_REPL")
    assert _wrong(found) == ["replication"]
    assert "has failed" in found["replication"].evidence
    _pull(branch, centre, *PARTITIONS)  # meanwhile others may have been tried as well
    assert _wrong(_found(target)) == []
    assert _wrong(_found(target, replication_within=-1.0)) == ["replication"]


def test_a_server_that_lies(target: Directory, furnished: None) -> None:
    subprocess.run(["ip", "address", "add", "10.1.0.77/32", "dev", "lo"], check=True)
    liar = subprocess.Popen(
        [sys.executable, "-c", _LIES, "10.1.0.77"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert liar.stdout is not None
        assert liar.stdout.readline() == b"ready\n"
        found = _found(target, address="10.1.0.77", within=2.0)
    finally:
        liar.kill()
        liar.wait()
        subprocess.run(["ip", "address", "delete", "10.1.0.77/32", "dev", "lo"], check=True)
    assert set(_wrong(found)) == set(CHECKS)


def test_certificates_of_another_authority(target: Directory, centre: Centre) -> None:
    found = _found(target, ca=str(centre.directory / "lib" / "private" / "tls" / "ca.pem"))
    assert set(_wrong(found)) == {"ldap", "replication"}
    assert "`ca`" in found["ldap"].remedy
