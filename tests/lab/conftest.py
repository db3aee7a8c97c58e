"""Fixtures of the tests that need network namespaces. Without root pytest runs itself again in a user namespace."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest

from appliance.lab import Lab, LabError, rootless
from appliance.lab.pair import Pair
from tests.lab.plain_pair import Echo, echoing

NewLab = Callable[..., Lab]
NewPair = Callable[..., Pair]


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cuts", type=int, default=3, help="How often the power of real boxes is cut.")


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


def _print_logs(pair: Pair) -> None:
    for box_id, text in pair.logs().items():
        print(f"--- {box_id}\n{text}")


@pytest.fixture
def new_pair() -> Iterator[NewPair]:
    """Starts two Branchlines in a lab: new_pair(lab, rules=…, branch=Side(…)) takes what Pair takes.

    When the test has failed, what they logged is in its report.
    """
    with ExitStack() as stack:

        def make(lab: Lab, **options: Any) -> Pair:
            pair = stack.enter_context(Pair(lab, **options))
            stack.callback(_print_logs, pair)
            return pair

        yield make


@pytest.fixture(scope="module")
def module_pair(module_lab: Lab) -> Iterator[Pair]:
    """Two Branchlines shared by a module, in its module_lab. Leave them as you found them."""
    with Pair(module_lab) as pair:
        yield pair


@pytest.fixture
def echo(lab: Lab) -> Iterator[Echo]:
    with echoing(lab) as echo:
        yield echo
