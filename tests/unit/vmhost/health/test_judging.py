"""What a check makes of what it was told."""

import struct

import pytest

from vmhost.health import clock, kerberos, replication
from vmhost.health.replication import Partner
from vmhost.health.result import Result, state_of
from vmhost.health.tool import Said

NOW = 1_800_000_000.0
_1900 = 2_208_988_800


def _result(name: str, ok: bool) -> Result:
    return Result(name=name, ok=ok, latency=1.0, evidence="")


def test_a_service_is_as_good_as_its_checks() -> None:
    assert state_of([_result("dns", True), _result("sysvol", True)]) == "healthy"
    assert state_of([_result("dns", True), _result("sysvol", False)]) == "degraded"
    assert state_of([_result("dns", False), _result("sysvol", False)]) == "failed"


@pytest.mark.parametrize(
    ("partners", "others", "ok", "said"),
    [
        ([], 0, True, "the only controller"),
        ([], 2, False, "no partner, though there are 2 more"),
        (
            [Partner("a", NOW - 60, 0, 0), Partner("b", NOW - 30, 0, 0)],
            1,
            True,
            "oldest of 2 partitions is 60 s old",
        ),
        ([Partner("a", NOW - 9000, 0, 0)], 1, False, "2.5 h old (a), though none failed"),
        ([Partner("a", 0.0, 0, 0)], 1, False, "never done"),
        ([Partner("a", NOW - 60, 4, 58)], 1, False, "a has failed 4 times, error 58"),
        ([Partner("a", NOW - 9000, 4, 58), Partner("a", NOW - 60, 0, 0)], 2, True, "60 s old"),
    ],
)
def test_replication(partners: list[Partner], others: int, ok: bool, said: str) -> None:
    found = replication.judge(partners, others, NOW, 7200.0, "asked", 1.0)
    assert (found.ok, not found.remedy) == (ok, ok)
    assert said in found.evidence


def test_clocks() -> None:
    well = clock.judge({"NTP": -0.25, "LDAP": 1.0, "the KDC": None}, 1.0)
    assert well.ok
    assert well.evidence == "ahead of this box: by NTP -0.250 s, by LDAP +1 s; the KDC did not tell"
    assert not clock.judge({"NTP": 0.0, "LDAP": -61.0}, 1.0).ok
    assert not clock.judge({"NTP": None}, 1.0).ok


def _answer(transmit: bytes, at: float, head: int = 0x24, stratum: int = 2) -> bytes:
    stamp = struct.pack(">II", (int(at) + _1900) % 2**32, int(at % 1 * 2**32))
    return bytes([head, stratum]) + bytes(22) + transmit + stamp + stamp


def test_sntp() -> None:
    cookie = b"abcdefgh"
    assert clock.request(cookie)[40:] == cookie
    found = clock.offset(_answer(cookie, NOW + 90.5), cookie, NOW, NOW + 1)
    assert found == pytest.approx(90.0, abs=0.001)
    after_2036 = 2_200_000_000.0  # the next era of NTP
    found = clock.offset(_answer(cookie, after_2036), cookie, after_2036, after_2036)
    assert found == pytest.approx(0.0, abs=0.001)
    for wrong in (
        _answer(b"another!", NOW),
        _answer(cookie, NOW)[:47],
        _answer(cookie, NOW, head=0x23),  # a question
        _answer(cookie, NOW, head=0xE4),  # its clock has not been set
        _answer(cookie, NOW, stratum=0),
    ):
        assert clock.offset(wrong, cookie, NOW, NOW) is None


def test_a_kdc() -> None:
    def judged(status: int | None, err: str, *, anonymous: bool = False) -> tuple[bool, str]:
        found = kerberos.judge("asked", Said(status, "Password for a@B: \n", err, 1.0), anonymous=anonymous)
        return found.ok, found.remedy or found.evidence

    unknown = "kinit: Client 'x@B' not found in Kerberos database while getting initial credentials\n"
    assert judged(0, "") == (True, "asked: a ticket")
    assert judged(1, unknown, anonymous=True) == (True, "asked: it answers, there is none")
    assert judged(1, unknown) == (False, "see whether the account is in this realm")
    assert judged(1, "kinit: Clock skew too great\n")[1].startswith("set the clocks right")
    assert judged(None, "")[1].startswith("see whether the KDC runs")
    assert judged(0, "", anonymous=True)[0] is False
