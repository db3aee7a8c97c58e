"""What the control socket says of virtual machines where there are none."""

from collections.abc import Iterator

import pytest

from appliance.config import load
from appliance.config.difference import difference
from appliance.rpc import RpcError
from tests.unit.appliance.control_box import ControlBox, control_box


@pytest.fixture(scope="module")
def box() -> Iterator[ControlBox]:
    with control_box() as running:
        yield running


def test_a_box_without_the_section(box: ControlBox) -> None:
    for method in ("vm_host", "vm_list", "vm_create", "vm_start"):
        with pytest.raises(RpcError, match=r"write a section \[vm\]"):
            box.call(method)


def test_the_section_comes_with_a_restart(box: ControlBox) -> None:
    before = load(box.file)
    box.write(rules="[vm]")
    assert difference(before, load(box.file)).restart == ("vm",)
    with pytest.raises(RpcError, match="vm: only a restart can change that"):
        box.call("reload")
