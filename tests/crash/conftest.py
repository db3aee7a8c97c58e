"""How many crashes, and which."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--crashes", type=int, default=50, help="How many crashes to live through.")
    parser.addoption("--seed", type=int, default=1, help="Where the random numbers start.")
