"""What a guest says of itself, whatever it says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from vmhost.agent.facts import FileSystem, facts

SAID: dict[str, object] = {
    "os.id": "debian",
    "os.pretty-name": "Debian GNU/Linux 12 (bookworm)",
    "hostname": "dc-1",
    "if.count": 2,
    "if.0.name": "lo",
    "if.0.addr.count": 1,
    "if.0.addr.0.type": "ipv4",
    "if.0.addr.0.addr": "127.0.0.1",
    "if.0.addr.0.prefix": 8,
    "if.1.name": "eth0",
    "if.1.addr.count": 3,
    "if.1.addr.0.addr": "10.1.0.10",
    "if.1.addr.0.prefix": 24,
    "if.1.addr.1.addr": "fe80::1",
    "if.1.addr.1.prefix": 64,
    "if.1.addr.2.addr": "fd00:1::10",
    "if.1.addr.2.prefix": 64,
    "fs.count": 2,
    "fs.0.mountpoint": "/",
    "fs.0.fstype": "squashfs",
    "fs.1.mountpoint": "/data",
    "fs.1.fstype": "ext4",
    "fs.1.total-bytes": 100,
    "fs.1.used-bytes": 40,
}


def test_what_an_honest_guest_says() -> None:
    found = facts(SAID)
    assert (found.os, found.host) == ("Debian GNU/Linux 12 (bookworm)", "dc-1")
    assert found.addresses == ("10.1.0.10/24", "fd00:1::10/64")
    assert found.file_systems == (
        FileSystem("/", "squashfs", None, None),
        FileSystem("/data", "ext4", 100, 40),
    )


def test_an_address_with_a_scope_that_is_a_text() -> None:
    said = {
        "if.count": 1,
        "if.0.addr.count": 1,
        "if.0.addr.0.addr": "2001:db8::1%\x1b[2J",
        "if.0.addr.0.prefix": 64,
    }
    assert facts(said).addresses == ()


def test_an_agent_that_tells_nothing() -> None:
    found = facts({})
    assert (found.os, found.host, found.addresses, found.file_systems) == ("", "", (), ())


_LIES = st.one_of(st.integers(-(2**64), 2**64), st.text(max_size=200), st.none(), st.just("\x1b[2J" * 50))


@settings(max_examples=40)
@given(st.fixed_dictionaries(dict.fromkeys(SAID, _LIES)))
def test_a_guest_that_lies(said: dict[str, object]) -> None:
    found = facts(said)
    texts = [found.os, found.host, *found.addresses]
    for one in found.file_systems:
        texts += [one.at, one.kind]
        assert (one.size or 0) >= (one.used or 0) >= 0
    assert all(len(text) <= 100 and "\x1b" not in text for text in texts)
    assert len(found.addresses) <= 32
    assert len(found.file_systems) <= 32
