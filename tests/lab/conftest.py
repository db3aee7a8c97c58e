"""Fixtures of the tests that need network namespaces. Without root pytest runs itself again in a user namespace."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest

from appliance.lab import Lab, LabError, rootless

NewLab = Callable[..., Lab]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if rootless.privileged():
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    try:
        rootless.run([sys.executable, *sys.orig_argv[1:]])
    except LabError as error:
        pytest.exit(f"tests/lab: {error}", returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_root: needs root outside any user namespace; skipped without")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("real_root") and not rootless.all_users():
            item.add_marker(pytest.mark.skip(reason="needs root outside any user namespace"))


@pytest.fixture(scope="session", autouse=True)
def orderly_sigterm() -> Iterator[None]:
    """SIGTERM ends the session as Ctrl-C does, with every lab taken down."""

    def terminated(_number: int, _frame: FrameType | None) -> None:
        pytest.exit("terminated by SIGTERM")

    before = signal.signal(signal.SIGTERM, terminated)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def module_lab() -> Iterator[Lab]:
    """One lab for all tests of a module: unlimited and without delay. Leave its WAN as you found it."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of the test's own: unlimited and without delay."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def new_lab() -> Iterator[NewLab]:
    """Makes labs of the test's own: new_lab(rate=…, rtt=…) takes what Lab takes."""
    with ExitStack() as stack:

        def make(**options: Any) -> Lab:
            return stack.enter_context(Lab(**options))

        yield make
