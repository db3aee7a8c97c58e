"""Calls that may never return."""

from __future__ import annotations

import threading

import pytest

from appliance.attempt import Attempt


def test_a_result_and_an_error() -> None:
    attempt = Attempt(lambda: 7, "seven")
    assert attempt.wait(10)
    assert attempt.result() == 7
    failing = Attempt(lambda: int("seven"), "fails")
    assert failing.wait(10)
    with pytest.raises(ValueError, match="seven"):
        failing.result()


def test_what_comes_too_late_is_disposed_of() -> None:
    answer, disposed = threading.Event(), threading.Event()
    got: list[bool] = []

    def dispose(result: bool) -> None:
        got.append(result)
        disposed.set()

    attempt = Attempt(lambda: answer.wait(10), "late")
    assert not attempt.wait(0.0)
    attempt.abandon(dispose)
    answer.set()
    assert disposed.wait(10)
    assert got == [True]
    attempt.abandon(got.append)  # it is there already
    assert got == [True, True]
