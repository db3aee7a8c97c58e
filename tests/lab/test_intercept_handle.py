"""The data plane's handle on its table: ownership, the dead man's switch, the sets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from appliance.intercept import BoxSpec, Interception, Known, Nft, NftError, elements
from appliance.intercept.elements import Element
from appliance.lab import Host, Lab
from tests.lab.plain_pair import branch_spec, until

TABLE = "branchline"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def handle(module_lab: Lab, clock: Clock) -> Iterator[Interception]:
    handle = make(module_lab.branch, branch_spec(), clock)
    module_lab.branch.call(handle.open)
    yield handle
    handle.close()


def make(host: Host, spec: BoxSpec, clock: Clock) -> Interception:
    return host.call(Interception, spec, 0.1, clock)


def tables(host: Host) -> list[str]:
    listed = host.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    return [str(line) for line in listed.stdout.splitlines()]


def seconds_of(host: Host, name: str) -> dict[tuple[str, int], float]:
    """Elements of a set of destinations, and when they expire."""
    found = host.call(lambda: list(elements.listed(TABLE, name)))
    return {elements.destination_of(element.key): element.seconds or 0.0 for element in found}


def test_the_table_is_nobody_elses(module_lab: Lab, handle: Interception) -> None:
    assert tables(module_lab.branch) == ["table inet branchline"]
    for command in (["flush", "ruleset"], ["delete", "table", "inet", TABLE]):
        module_lab.branch.run(["nft", *command], capture_output=True, check=False)
    assert handle.present()
    with module_lab.branch.call(Nft) as stranger, pytest.raises(PermissionError):
        stranger.change(elements.flush(TABLE, "active"))


def test_the_table_goes_with_the_handle_though_children_live(module_lab: Lab, handle: Interception) -> None:
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        try:
            handle.close()
            assert tables(module_lab.branch) == []
        finally:
            child.kill()
    assert not handle.present()
    for use in (handle.heartbeat, handle.known, lambda: handle.refuse("10.2.0.9", 80)):
        with pytest.raises(NftError):
            module_lab.branch.call(use)


def test_a_second_data_plane_is_refused(module_lab: Lab, handle: Interception, clock: Clock) -> None:
    del handle  # holds the table

    class Impatient(Clock):
        def __call__(self) -> float:
            self.now += 1.0
            return self.now

    with pytest.raises(NftError):
        module_lab.branch.call(make(module_lab.branch, branch_spec(), Impatient()).open)
    assert clock.now == 1000.0


def test_the_heartbeat_runs_out(module_lab: Lab, handle: Interception) -> None:
    def active() -> set[str]:
        found = module_lab.branch.call(lambda: list(elements.listed(TABLE, "active")))
        return {element.key.rstrip(b"\0").decode() for element in found}

    assert active() == set()
    for _ in range(3):  # again after it has run out

        def beats() -> bool:
            handle.heartbeat()
            handle.heartbeat()
            return active() == {"lan0"}

        assert until(beats)
        assert until(lambda: not active(), 10.0)


@pytest.mark.parametrize("address", ["10.2.0.9", "fd02::9"])
def test_refusals_double(module_lab: Lab, handle: Interception, clock: Clock, address: str) -> None:
    name = "refused6" if ":" in address else "refused4"
    waits = []
    for _ in range(9):
        waits.append(handle.refuse(address, 80))
        assert waits[-1] - 2 < seconds_of(module_lab.branch, name)[address, 80] <= waits[-1]
        clock.now += waits[-1] + 1
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert handle.refuse(address, 81) == 30
    clock.now += 3600
    assert handle.refuse(address, 80) == 30  # it behaved for long enough


@pytest.mark.parametrize(("address", "name"), [("10.2.0.9", "asymmetric4"), ("fd02::9", "asymmetric6")])
def test_a_host_is_avoided_for_longer_and_longer(
    module_lab: Lab, handle: Interception, clock: Clock, address: str, name: str
) -> None:
    for seconds in (30, 60, 120):
        assert handle.avoid(address) == seconds
        (element,) = module_lab.branch.call(lambda: list(elements.listed("branchline", name)))
        assert element.key == elements.host(address)
        assert element.seconds is not None
        assert seconds - 2 < element.seconds <= seconds
        clock.now += seconds + 1
    assert handle.refuse(address, 80) == handle.avoid_client(address) == 30


def test_what_is_refused_is_not_known(module_lab: Lab, handle: Interception) -> None:
    items = [Known("10.2.0.9", 80), Known("10.2.0.9", 81, 50.0), Known("fd02::9", 80)]
    handle.learn(items)
    handle.learn([])
    known = {(item.address, item.port): item.expires for item in module_lab.branch.call(handle.known)}
    assert set(known) == {("10.2.0.9", 80), ("10.2.0.9", 81), ("fd02::9", 80)}
    assert 48 < known["10.2.0.9", 81] <= 50
    assert known["fd02::9", 80] > 3590
    handle.refuse("10.2.0.9", 80)
    handle.refuse("fd02::9", 80)
    assert [(item.address, item.port) for item in module_lab.branch.call(handle.known)] == [("10.2.0.9", 81)]


def test_a_scan_cannot_fill_the_set_of_refusals(module_lab: Lab, handle: Interception) -> None:
    handle.learn([Known("10.2.255.255", 80)])
    nft = handle._opened()  # as many refusals as the set holds, in a moment
    scanned = [Element(elements.destination(f"10.2.{i >> 8}.{i & 255}", 80), 60.0) for i in range(65535)]
    nft.change(elements.add(TABLE, "refused4", scanned))
    handle.refuse("10.2.1.1", 81)
    with pytest.raises(OSError, match="Too many open files"):  # the kernel's word for a full set
        nft.change(elements.add(TABLE, "refused4", [Element(elements.destination("10.2.1.1", 82))]))
    handle.refuse("10.2.255.255", 80)
    assert list(seconds_of(module_lab.branch, "refused4")) == [("10.2.255.255", 80)]
    assert module_lab.branch.call(handle.known) == []


def test_a_policy_that_nft_refuses_changes_nothing(module_lab: Lab, handle: Interception) -> None:
    before = module_lab.branch.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True).stdout
    spec = branch_spec()
    with pytest.raises(NftError, match="lan"):
        handle.update(BoxSpec(("much-too-long-for-an-interface",), peers=spec.peers[:1]))
    after = module_lab.branch.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True).stdout
    assert before == after
