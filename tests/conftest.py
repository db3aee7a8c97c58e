"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """As from a terminal: what starts the tests (nohup, a shell) may ignore signals, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
