"""What a peer is: path down, peer down and never seen are told apart."""

from __future__ import annotations

from appliance.lanes.standing import SILENT, Standing, State

INTERVAL = 0.1


def judge(
    standing: Standing, now: float, heard: float, lanes: str = "attached", *, alive: bool = True
) -> State:
    """`lanes`: attached, some or none."""
    return standing.judge(
        now, INTERVAL, heard=heard, attached=lanes == "attached", lanes=lanes != "none", alive=alive
    )


def up() -> Standing:
    standing = Standing()
    assert judge(standing, 0.0, 0.0, "none", alive=False) is State.CONNECTING
    assert judge(standing, 1.0, 1.0, "some") is State.CONNECTING
    assert judge(standing, 2.0, 2.0) is State.UP
    return standing


def test_a_data_plane_that_says_nothing_over_a_living_path_is_silent() -> None:
    standing = up()
    assert judge(standing, 2.0 + SILENT * INTERVAL, 2.0) is State.UP
    assert judge(standing, 2.1 + SILENT * INTERVAL, 2.0) is State.SILENT
    assert judge(standing, 60.0, 59.9) is State.UP


def test_without_a_living_path_it_is_the_path() -> None:
    standing = up()
    assert judge(standing, 3.1, 2.0, alive=False) is State.PATH_DOWN
    assert judge(standing, 4.0, 2.0, "none", alive=False) is State.PATH_DOWN
    assert judge(standing, 60.0, 59.9, "some") is State.SILENT
    assert judge(standing, 60.0, 59.9) is State.UP


def test_a_host_that_refuses_is_down_at_once() -> None:
    standing = up()
    standing.refused = True
    assert judge(standing, 2.1, 2.0, "none", alive=False) is State.DOWN
    assert judge(standing, 60.0, 59.9) is State.UP
    assert not standing.refused


def test_a_switch_of_paths_is_not_seen() -> None:
    standing = up()
    for now in (2.1, 2.3, 2.5, 2.9):
        assert judge(standing, now, 2.0, "some") is State.UP
    assert judge(standing, 3.0, 2.95) is State.UP


def test_what_was_heard_of_an_association_ends_with_it() -> None:
    standing = up()
    standing.begin_anew()
    assert judge(standing, 2.1, 2.0, "none", alive=False) is State.CONNECTING
    assert judge(standing, 2.2, 2.15) is State.UP


def test_a_box_that_was_late_itself_accuses_nobody() -> None:
    standing = up()
    standing.forgive(100.0)
    assert judge(standing, 100.5, 2.0) is State.UP


def test_a_peer_that_is_not_understood_is_so_until_it_is() -> None:
    standing = up()
    standing.strange = "it speaks another version"
    assert judge(standing, 2.5, 2.5) is State.UP, "lanes that are open count for more"
    standing.strange = "it speaks another version"
    assert judge(standing, 60.0, 2.5, "none", alive=False) is State.OTHER_VERSION
    assert judge(standing, 61.0, 61.0) is State.UP
    assert judge(standing, 120.0, 61.0, "none", alive=False) is State.PATH_DOWN
