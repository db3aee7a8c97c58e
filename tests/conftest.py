"""What holds for all tests."""

import signal

from hypothesis import settings


def pytest_configure() -> None:
    # As from a terminal: what starts the tests (nohup, a shell) may ignore signals, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    settings.register_profile(
        "branchline", deadline=None
    )  # how long an example takes is no property of the code
    settings.load_profile("branchline")
