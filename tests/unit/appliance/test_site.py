"""A site is what its box announces, within what it was granted; what is another site's is not of it."""

import ipaddress

import pytest

from appliance.config import from_dict
from appliance.config.values import Prefix
from appliance.identity import create
from appliance.lanes.frames import FrameError, Site
from appliance.site import Sites, extent, home, own


def granted(*prefixes: str) -> tuple[Prefix, ...]:
    return tuple(Prefix.parse(prefix) for prefix in prefixes)


def networks(*prefixes: str) -> tuple[object, ...]:
    return tuple(ipaddress.ip_network(prefix) for prefix in prefixes)


GRANT = granted("10.1.0.0/16", "fd01::/48")


@pytest.mark.parametrize(
    ("said", "site", "refused"),
    [
        (None, ("10.1.0.0/16", "fd01::/48"), []),
        (Site(), ("10.1.0.0/16", "fd01::/48"), []),
        (Site(["10.1.0.0/16"]), ("10.1.0.0/16",), []),
        (Site(["10.1.4.0/24", "fd01::/64"]), ("10.1.4.0/24", "fd01::/64"), []),
        (Site(["10.0.0.0/8"]), ("10.1.0.0/16",), []),
        (Site(["0.0.0.0/0", "::/0"]), ("10.1.0.0/16", "fd01::/48"), []),
        (Site(["10.2.0.0/16", "10.1.0.0/16"]), ("10.1.0.0/16",), ["10.2.0.0/16"]),
        (Site(["10.2.0.0/16"]), (), ["10.2.0.0/16"]),
    ],
)
def test_a_site_stays_within_its_grant(said: Site | None, site: tuple[str, ...], refused: list[str]) -> None:
    found, outside = extent(GRANT, said)
    assert found.networks == networks(*site)
    assert outside == refused


@pytest.mark.parametrize("prefix", ["ten", "10.1.0.1/16", "10.1.0.0/99", ""])
def test_nonsense_is_refused(prefix: str) -> None:
    with pytest.raises(FrameError):
        extent(GRANT, Site([prefix]))
    with pytest.raises(FrameError):
        extent(GRANT, Site(["10.1.0.0/16"], [prefix]))


def test_too_many_prefixes_are_refused() -> None:
    with pytest.raises(FrameError):
        extent(GRANT, Site([f"10.1.{number % 256}.0/24" for number in range(2000)]))


def test_the_longest_prefix_says_whose_an_address_is() -> None:
    site = home(Site(["10.0.0.0/8", "10.3.7.0/24"], ["10.3.0.0/16"]))
    whose = {"10.2.0.1": True, "10.3.0.1": False, "10.3.7.1": True, "11.0.0.1": False}
    for address, ours in whose.items():
        assert (ipaddress.ip_address(address) in site) is ours


def test_a_centre_says_what_is_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("keys")
    box = {
        "id": "dc",
        "lan": ["lan0"],
        "wan": ["wan0"],
        "prefixes": ["10.0.0.0/8"],
        "listen": ["10.9.2.1:4001"],
    }
    peers = [
        {"id": name, "key": create(directory / name).public, "prefixes": prefixes}
        for name, prefixes in (("b1", ["10.1.0.0/16"]), ("b3", ["10.3.0.0/16", "192.168.3.0/24"]))
    ]
    config = from_dict({"box": box, "peers": peers})
    assert own(config, "b1") == Site(["10.0.0.0/8"], ["10.3.0.0/16"])
    assert own(config, "b3") == Site(["10.0.0.0/8"], ["10.1.0.0/16"])


def test_what_cannot_be_read_was_not_said() -> None:
    """Else the same would pass as known the next time, and whoever reads it again would meet the error."""
    sites = Sites()
    sites.hear(GRANT, Site(["10.1.4.0/24"]))
    for _ in range(2):
        with pytest.raises(FrameError):
            sites.hear(GRANT, Site(["x"]))
    assert sites.said == Site(["10.1.4.0/24"])
    assert sites.hear(GRANT, sites.said) == []


def test_a_hub_has_more_sites_than_a_peer_may_name() -> None:
    many = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(1500)]
    assert len(home(Site(["10.0.0.0/8"], many)).elsewhere) == 1500
