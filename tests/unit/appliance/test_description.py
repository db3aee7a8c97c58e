"""Flows in pages: every flow once, in an order that does not depend on what comes and goes between pages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.description import MOST_FLOWS, next_flows
from appliance.peer import Peer


@pytest.fixture
def peers() -> dict[str, Peer]:
    """Streams stand for their flows."""
    counts = {"dc": 450, "branch-2": 0, "branch-7": 7}
    made = {
        name: SimpleNamespace(id=name, flows={stream: stream for stream in reversed(range(count))})
        for name, count in counts.items()
    }
    return cast(dict[str, Peer], made)


def page(peers: dict[str, Peer], after: list[Any] | None, limit: int = 10_000) -> list[tuple[str, int]]:
    return [(peer.id, cast(int, stream)) for peer, stream in next_flows(peers, after, limit)]


def test_pages_hold_every_flow_once(peers: dict[str, Peer]) -> None:
    pages = [page(peers, None)]
    while pages[-1]:
        assert len(pages[-1]) <= MOST_FLOWS
        pages.append(page(peers, list(pages[-1][-1])))
    listed = [flow for each in pages for flow in each]
    assert listed == [("branch-7", stream) for stream in range(7)] + [("dc", stream) for stream in range(450)]


def test_a_page_goes_on_where_the_last_flow_was_though_it_has_ended(peers: dict[str, Peer]) -> None:
    first = page(peers, None, 10)
    assert first[-1] == ("dc", 2)
    del peers["dc"].flows[2]
    del peers["branch-7"]
    assert page(peers, list(first[-1]), 2) == [("dc", 3), ("dc", 4)]
