"""Programs that the host begins."""

import asyncio

import pytest

from vmhost.errors import VmError
from vmhost.processes import launch


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(
        VmError, match="no-such-tool cannot be run: No such file or directory; is it installed"
    ):
        asyncio.run(launch("no-such-tool", "--version"))
