"""Longest prefix wins."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from appliance.intercept.prefixes import disjoint

SPACE = 0x0A000000
networks = st.builds(
    lambda address, length: IPv4Network((SPACE + address, length), strict=False),
    st.integers(0, 255),
    st.integers(22, 32),
)
claims = st.lists(st.tuples(networks, st.integers(0, 3)), max_size=8)


@given(claims, st.integers(0, 1023))
def test_every_address_goes_to_the_owner_of_its_longest_prefix(
    claimed: list[tuple[IPv4Network, int]], offset: int
) -> None:
    address = IPv4Address(SPACE + offset)
    covering = [(network, owner) for network, owner in claimed if address in network]
    longest = max((network.prefixlen for network, _ in covering), default=None)
    expected = [owner for network, owner in covering if network.prefixlen == longest][:1]
    assert [owner for network, owner in disjoint(claimed) if address in network] == expected


@given(claims)
def test_the_result_is_sorted(claimed: list[tuple[IPv4Network, int]]) -> None:
    result = [network for network, _ in disjoint(claimed)]
    assert result == sorted(result)


def test_a_site_inside_another() -> None:
    wide, narrow = IPv6Network("fd00::/16"), IPv6Network("fd00::/18")
    assert disjoint([(wide, "hub"), (narrow, "branch")]) == [
        (narrow, "branch"),
        (IPv6Network("fd00:4000::/18"), "hub"),
        (IPv6Network("fd00:8000::/17"), "hub"),
    ]


def test_everything() -> None:
    everything = IPv4Network("0.0.0.0/0")
    assert disjoint([(everything, 1)]) == [(everything, 1)]
