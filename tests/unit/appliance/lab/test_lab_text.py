"""What the lab tells the system: tc, nft and netlink texts, names, remedies. No privileges needed."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lab import emulation, leftovers, nfqueue, rootless, topology
from appliance.lab.profile import WanProfile

BRANCH_LINK = WanProfile(rate=2_500_000, rtt=0.08)


def test_netem_gets_a_rate_so_that_jitter_does_not_reorder() -> None:
    words = emulation.netem("dc", WanProfile(rtt=0.08, jitter=0.01))
    assert words[words.index("delay") + 1 :][:2] == ["40000us", "10000us"]
    assert "rate" in words


def test_netem_buffers_the_delay_and_a_queue() -> None:
    words = emulation.netem("dc", BRANCH_LINK)
    limit = int(words[words.index("limit") + 1])
    assert limit >= 2_500_000 * (0.04 + 0.08) / 1500
    assert words[words.index("rate") + 1] == "20000000bit"


def test_netem_reorders_by_percent() -> None:
    words = emulation.netem("dc", WanProfile(rtt=0.1, reorder=0.25))
    assert words[words.index("reorder") + 1] == "25.000000%"


@pytest.mark.parametrize("rate", [1000, 250_000, 2_500_000, 37_500_000])
def test_tbf_lets_a_full_packet_through_at_any_rate(rate: int) -> None:
    words = emulation.tbf("dc", WanProfile(rate=rate))
    assert int(words[words.index("burst") + 1]) >= 1514
    assert words[words.index("rate") + 1] == f"{rate * 8}bit"


def test_drops_are_written_anew_each_time_and_keep_their_counters() -> None:
    text = emulation.drops(WanProfile(loss=0.01), cut=True)
    assert text.index("flush chain inet lab_wan loss") < text.index("add rule inet lab_wan loss")
    assert "numgen random mod 1000000 < 10000 counter name lost_dc drop" in text
    assert "oifname branch counter name cut_branch drop" in text
    assert "add rule" not in emulation.drops(BRANCH_LINK, cut=False)
    assert "oifname dc counter name lost_dc drop" in emulation.drops(WanProfile(loss=1.0), cut=False)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rate": 10.0}, "rate"),
        ({"rtt": -1.0}, "rtt"),
        ({"loss": 1.5}, "loss"),
        ({"reorder": 0.1}, "reorder needs an rtt"),
    ],
)
def test_a_link_that_cannot_be_is_refused(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        WanProfile(**options)


def test_every_interface_gets_its_address_where_its_link_leads() -> None:
    hosts = (*topology.HOSTS, "wan2")
    netns = {host: f"x-{host}" for host in hosts}
    made = [line for host in hosts for line in topology.links_made_in(host, netns)]
    assert len(made) == len(topology.LINKS)
    for host in hosts:
        lines = "\n".join(topology.addresses_of(host, hosts))
        assert topology.PRIMARY[host][0] + "/" in lines
        assert topology.PRIMARY[host][1] + "/" in lines


def test_a_lab_with_one_wan_knows_nothing_of_the_second() -> None:
    netns = {host: f"x-{host}" for host in topology.HOSTS}
    lines = [line for host in topology.HOSTS for line in topology.links_made_in(host, netns)]
    lines += [line for host in topology.HOSTS for line in topology.addresses_of(host, topology.HOSTS)]
    assert not [line for line in lines if "wan1" in line or "10.8." in line]


def test_names_say_who_made_them() -> None:
    name = leftovers.new_name()
    assert leftovers.parse(name.of_host("client")) == (name, "client")
    assert leftovers.start_time(name.pid) == name.start
    assert leftovers.new_name() != name


@pytest.mark.parametrize(
    "other",
    ["blue", "branchline-lab-12-client", "branchline-lab-1.2.3-", "branchline-lab-1.2.3-7", "1.2.3-dc"],
)
def test_other_namespaces_are_none_of_ours(other: str) -> None:
    assert leftovers.parse(other) is None


@given(queue=st.integers(0, 65535), packet=st.integers(0, 2**32 - 1), older=st.booleans())
def test_a_verdict_names_its_queue_and_packet(queue: int, packet: int, older: bool) -> None:
    message = nfqueue.release(queue, packet, older=older)
    length, kind = struct.unpack_from("=IH", message)
    assert length == len(message)
    assert kind == nfqueue.kind_of(message) == (nfqueue.VERDICT_BATCH if older else nfqueue.VERDICT)
    assert struct.unpack_from(">H", message, 18) == (queue,)
    assert struct.unpack_from(">II", message, 24) == (nfqueue.NF_ACCEPT, packet)


@given(queue=st.integers(0, 65535), packet=st.integers(0, 2**32 - 1), rest=st.binary(max_size=64))
def test_a_packet_from_the_kernel_is_read(queue: int, packet: int, rest: bytes) -> None:
    attribute = struct.pack("=HH", 11, 1) + struct.pack(">IHB", packet, 0x0800, 2) + b"\0"
    body = struct.pack(">BBH", 2, 0, queue) + attribute + rest
    message = struct.pack("=IHHII", 16 + len(body), nfqueue.PACKET, 0, 0, 0) + body
    assert len(message) >= nfqueue.SMALLEST_PACKET
    assert nfqueue.kind_of(message) == nfqueue.PACKET
    assert nfqueue.packet(message) == (queue, packet)


def test_an_error_from_the_kernel_is_read() -> None:
    message = struct.pack("=IHHIIi", 36, nfqueue.NLMSG_ERROR, 0, 0, 0, -16) + bytes(16)
    assert nfqueue.error(message) == 16


@pytest.mark.parametrize(
    ("path", "value", "advice"),
    [
        ("kernel/unprivileged_userns_clone", "0\n", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1\n", "apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", "0\n", "user.max_user_namespaces"),
        ("user/max_user_namespaces", "5000\n", "run the command as root"),
    ],
)
def test_the_remedy_is_the_one_this_kernel_needs(tmp_path: Path, path: str, value: str, advice: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(value)
    assert advice in rootless.remedy(tmp_path)
