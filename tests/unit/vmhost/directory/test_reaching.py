"""What is made of the checks before and after a directory is made."""

from vmhost.directory.reaching import NEEDED, SERVES, wanting
from vmhost.health.result import Result


def _results(**found: bool) -> list[Result]:
    return [Result(name=name, ok=ok, latency=1.0, evidence="") for name, ok in found.items()]


def test_what_is_wrong_is_told() -> None:
    assert wanting(_results(dns=True, ldap=True, kerberos=True, clock=True), NEEDED) == []
    (clock,) = wanting(_results(dns=True, ldap=True, kerberos=True, clock=False), NEEDED)
    assert clock.name == "clock"
    assert wanting(_results(dns=True, ldap=True, kerberos=True, clock=False), SERVES) == []


def test_checks_that_could_not_be_made_are_not_good() -> None:
    (found,) = wanting(_results(round=False), NEEDED)
    assert found.name == "round"
