"""Classes as the kernel is told of them; tests/lab/test_shaping.py has the kernel read them."""

import struct

from appliance.control import htb
from appliance.control.shaping import UNLIMITED, HtbClass
from appliance.intercept import netlink

KIND, OPTIONS, PARAMETERS = 1, 2, 1
BURSTS = slice(6, 8)


def told(wanted: HtbClass) -> tuple[int, ...]:
    """The numbers of a class: two rates of three words each, two bursts, quantum, level, priority."""
    said = netlink.attributes(htb.parameters(wanted))
    assert said[KIND] == b"htb\0"
    return struct.unpack("=11I", netlink.attributes(said[OPTIONS])[PARAMETERS])


def test_bursts_are_times() -> None:
    """A millisecond, in the kernel's ticks of 64 ns."""
    assert told(HtbClass(3, 1, 10_000_000, 10_000_000))[BURSTS] == (15625, 15625)


def test_a_rate_beyond_the_kernel_s_number() -> None:
    """40 Gbit/s is 5e9 bytes/s."""
    assert told(HtbClass(3, 1, 0, 5_000_000_000))[2:6:3] == (1, 2**32 - 1)


def test_what_does_not_fit_into_32_bits_is_as_long_as_can_be() -> None:
    assert told(HtbClass(3, 1, 1000, UNLIMITED))[BURSTS] == (2**32 - 1, 15625)
