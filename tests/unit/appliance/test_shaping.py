"""From the configuration to the shapers of the WAN: classes, what they are assured of, and who is sorted into them."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.bypass import Bypass
from appliance.config import Config, load
from appliance.config import Path as WanPath
from appliance.config.boxspec import box_spec
from appliance.config.units import Rate
from appliance.config.values import Endpoint, Interface, Name
from appliance.control.shaping import OTHERS, ROOT, UNLIMITED, Link, links, rules
from appliance.traffic import MAJOR, MOST_PEERS, Class, minor, priority

EXAMPLES = Path(__file__).parents[3] / "examples"
RATE = 1_000_000


def with_paths(config: Config, *paths: tuple[WanPath, ...]) -> Config:
    """As many peers as there are tuples of paths, each the example's under another name."""
    peers = tuple(
        replace(config.peers[0], id=Name(f"peer-{number}"), paths=own) for number, own in enumerate(paths, 1)
    )
    return replace(config, peers=peers)


def path(rate: int, *, dials: bool = True, interface: str = "wan0", name: str = "wan") -> WanPath:
    dial = (Endpoint.parse("10.9.0.2:4001"),) if dials else ()
    return WanPath(name=Name(name), dial=dial, rate=Rate(rate), interface=Interface.parse(interface))


@pytest.fixture
def config() -> Config:
    return load(EXAMPLES / "branch.toml", files=False)


def by_minor(link: Link) -> dict[int, tuple[int, int, int]]:
    return {one.minor: (one.parent, one.rate, one.ceil) for one in link.classes}


def test_nothing_is_shaped_while_no_rate_is_known(config: Config) -> None:
    assert links(with_paths(config, (path(0),)), {}) == ()


def test_a_rate_that_was_found_counts_like_one_that_is_written(config: Config) -> None:
    (link,) = links(with_paths(config, (path(0),)), {("peer-1", "wan"): 950_000})
    assert link == links(with_paths(config, (path(RATE),)), {})[0]


def test_the_line_is_used_to_95_percent(config: Config) -> None:
    (link,) = links(with_paths(config, (path(RATE),)), {})
    assert link.interface == "wan0"
    classes = by_minor(link)
    assert classes[ROOT] == (0, 950_000, 950_000)
    assert classes[minor(1)] == (ROOT, 950_000, 950_000)
    assert {minor(1, traffic) for traffic in Class} < classes.keys()


def test_the_urgent_goes_first_and_nobody_starves(config: Config) -> None:
    (link,) = links(with_paths(config, (path(RATE),)), {})
    leaves = [one for one in link.classes if one.parent == minor(1)]
    assert [one.minor & 7 for one in sorted(leaves, key=lambda one: one.prio)] == list(Class)
    assert all(one.rate > 0 and one.queue > 0 and one.ceil == 950_000 for one in leaves)
    assert sum(one.rate for one in leaves) <= 950_000


def test_peers_of_the_box_that_dials_share_its_line(config: Config) -> None:
    (link,) = links(with_paths(config, (path(RATE),), (path(RATE),)), {})
    classes = by_minor(link)
    assert classes[ROOT][1] == 950_000
    assert [classes[minor(number)] for number in (1, 2)] == [(ROOT, 475_000, 950_000)] * 2


def test_peers_that_dial_have_a_line_each(config: Config) -> None:
    (link,) = links(with_paths(config, (path(RATE, dials=False),), (path(2 * RATE, dials=False),)), {})
    classes = by_minor(link)
    assert classes[ROOT][1] == UNLIMITED
    assert [classes[minor(number)][1] for number in (1, 2)] == [950_000, 1_900_000]


def test_peers_that_dial_share_the_line_of_their_centre_evenly(config: Config) -> None:
    box = replace(config.box, wan_rates=(Rate(RATE),))
    dialled = [(path(rate, dials=False),) for rate in (RATE, RATE, 0)]
    (link,) = links(with_paths(replace(config, box=box), *dialled), {})
    classes = by_minor(link)
    assert classes[ROOT] == (0, 950_000, 950_000)
    assert [classes[minor(number)] for number in (1, 2, 3)] == [(ROOT, 316_667, 950_000)] * 3


def test_a_peer_gets_no_more_than_the_line_of_its_centre(config: Config) -> None:
    box = replace(config.box, wan_rates=(Rate(RATE),))
    wide = (path(3 * RATE, dials=False, name="a"), path(RATE, dials=False, name="b"))
    (link,) = links(with_paths(replace(config, box=box), wide), {})
    assert by_minor(link)[minor(1)] == (ROOT, 950_000, 950_000)


def test_two_lines_are_shaped_apart(config: Config) -> None:
    box = replace(config.box, wan=(Interface.parse("wan0"), Interface.parse("wan1")))
    two = with_paths(replace(config, box=box), (path(RATE), path(3 * RATE, interface="wan1", name="lte")))
    assert [(link.interface, by_minor(link)[ROOT][1]) for link in links(two, {})] == [
        ("wan0", 950_000),
        ("wan1", 2_850_000),
    ]


def test_the_rules_sort_by_prefix_and_leave_lanes_alone(config: Config) -> None:
    shaped = with_paths(config, (path(RATE),))
    text = rules(box_spec(shaped, Bypass()), links(shaped, {}))
    lanes = text.index(f"meta priority {MAJOR:x}:0-{MAJOR:x}:ffff accept")
    assert lanes < text.index("10.2.0.0/16 : goto peer_1")
    assert f"meta priority set {MAJOR:x}:{minor(1, Class.REST):x} accept" in text
    assert 'oifname != { "wan0" } accept' in text


def test_numbers_fit_the_kernels_16_bits() -> None:
    assert minor(1) > OTHERS
    assert minor(MOST_PEERS, Class.REST) < 1 << 16
    assert priority(1, Class.EXPRESS) == MAJOR << 16 | 9
    with pytest.raises(ValueError, match="peer number"):
        minor(MOST_PEERS + 1)
