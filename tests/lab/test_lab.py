"""The lab builds what it says: addresses, routes, a WAN with the properties asked for, kernel counters."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from appliance.lab import Lab, Wan
from appliance.lab.probing import HEADERS, probe

NewLab = Callable[..., Lab]
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


def until(condition: Callable[[], bool], within: float = 10.0) -> bool:
    """Poll until the condition holds; False when it did not within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def download(lab: Lab, size: int, family: socket.AddressFamily = socket.AF_INET) -> float:
    """Seconds in which the client gets so many bytes from the server over one connection."""
    with lab.server.socket(family) as listener, lab.client.socket(family) as client:
        listener.bind((lab.server.address(family), 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()

        def serve() -> None:
            with accepted:
                accepted.sendall(bytes(size))

        began = time.monotonic()
        sender = threading.Thread(target=serve)
        sender.start()
        received = 0
        while data := client.recv(1 << 18):
            received += len(data)
        sender.join()
        assert received == size
        return time.monotonic() - began


@FAMILIES
def test_client_reaches_server_with_its_own_address(module_lab: Lab, family: socket.AddressFamily) -> None:
    with module_lab.server.socket(family) as listener, module_lab.client.socket(family) as client:
        listener.bind((module_lab.server.address(family), 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted, address = listener.accept()
        with accepted:
            assert address[0] == module_lab.client.address(family)
            client.sendall(b"question")
            assert accepted.recv(100) == b"question"
            accepted.sendall(b"answer")
            assert client.recv(100) == b"answer"


@FAMILIES
def test_every_datagram_crosses_in_order(module_lab: Lab, family: socket.AddressFamily) -> None:
    result = probe(module_lab.client, module_lab.server, 200, family=family)
    assert result.order == list(range(200))
    assert len(result.rtts) == 200


@FAMILIES
def test_bytes_are_what_the_link_carried(module_lab: Lab, family: socket.AddressFamily) -> None:
    before = module_lab.wan.bytes()
    probe(module_lab.client, module_lab.server, 100, family=family, payload=1000)
    expected = 100 * (1000 + HEADERS[family])

    def counted() -> tuple[int, int]:
        after = module_lab.wan.bytes()
        return after.towards_dc - before.towards_dc, after.towards_branch - before.towards_branch

    # The kernel's own multicast reports may add a few hundred bytes.
    for direction in counted():
        assert expected <= direction < expected + 5000


def test_bytes_that_stay_in_a_site_are_not_wan_bytes(module_lab: Lab) -> None:
    before = module_lab.wan.bytes()
    probe(module_lab.client, module_lab.branch, 100, payload=1000)
    assert module_lab.wan.bytes().both - before.both < 5000


def test_unlimited_link_hands_over_aggregates_and_a_rate_single_packets(lab: Lab) -> None:
    size = 3_000_000
    download(lab, size)
    aggregated = lab.wan.packets().towards_branch
    assert aggregated < size / 1448 / 2
    lab.wan.set(rate=1e9)
    download(lab, size)
    assert lab.wan.packets().towards_branch - aggregated >= size / 1448


@FAMILIES
def test_rate_holds_the_link(new_lab: NewLab, family: socket.AddressFamily) -> None:
    rate, size = 1_250_000, 1_000_000
    lab = new_lab(rate=rate)
    seconds = download(lab, size, family)
    # It cannot be faster, whatever the machine does; slower by as much as a busy machine makes it.
    assert seconds > 0.9 * size / rate
    assert seconds < 10 * size / rate


def test_rate_can_be_changed_while_bytes_flow(new_lab: NewLab) -> None:
    lab = new_lab(rate=12_500)
    seconds: list[float] = []
    thread = threading.Thread(target=lambda: seconds.append(download(lab, 1_000_000)))
    thread.start()
    assert until(lambda: lab.wan.bytes().towards_branch > 20_000)
    lab.wan.set(rate=None)
    thread.join(timeout=40)
    assert seconds
    assert seconds[0] < 40  # 80 s at the first rate


@FAMILIES
def test_delay_is_added_to_every_round_trip(new_lab: NewLab, family: socket.AddressFamily) -> None:
    lab = new_lab(rtt=0.08)
    result = probe(lab.client, lab.server, 20, interval=0.01, family=family)
    assert min(result.rtts.values()) >= 0.0798
    assert min(result.rtts.values()) < 0.16
    lab.wan.set(rtt=0.0)
    assert min(probe(lab.client, lab.server, 20, family=family).rtts.values()) < 0.04


def test_jitter_spreads_the_delay_and_keeps_the_order(new_lab: NewLab) -> None:
    lab = new_lab(rtt=0.2, jitter=0.08)
    # Farther apart than the jitter, a probe is not held up by the one before it.
    rtts = probe(lab.client, lab.server, 12, interval=0.17).rtts.values()
    assert min(rtts) >= 0.2 - 2 * 0.08 - 0.001
    assert min(rtts) < 0.2  # impossible without jitter
    assert max(rtts) - min(rtts) > 0.02
    close = probe(lab.client, lab.server, 300, interval=0.0005)
    assert close.order == list(range(300))


def test_reorder_lets_packets_overtake(new_lab: NewLab) -> None:
    lab = new_lab(rtt=0.05, reorder=0.2)
    result = probe(lab.client, lab.server, 300, interval=0.0005)
    assert sorted(result.order) == list(range(300))
    assert result.overtaken > 30


def test_loss_drops_and_counts_that_share(new_lab: NewLab) -> None:
    lab = new_lab(loss=0.1)
    result = probe(lab.client, lab.server, 2000, interval=0.0001, patience=1.0)
    there, back = lab.wan.dropped("lost")
    assert len(result.order) == 2000 - there
    assert len(result.rtts) == len(result.order) - back
    assert 100 < there < 300  # 200 expected, standard deviation 13
    assert 90 < back < 280
    carried = lab.wan.bytes().towards_dc
    assert carried >= 2000 * (32 + HEADERS[socket.AF_INET])  # lost ones were carried


def test_cut_drops_everything_and_restore_brings_it_back(lab: Lab) -> None:
    with lab.server.socket() as listener, lab.client.socket() as client:
        listener.bind((lab.server.v4, 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            lab.wan.cut()
            accepted.sendall(b"held up")
            assert until(lambda: lab.wan.dropped("cut").towards_branch >= 1)
            assert not probe(lab.client, lab.server, 3, patience=0.2).order
            assert lab.wan.dropped("cut").towards_dc >= 3
            lab.wan.restore()
            client.settimeout(20)
            assert client.recv(100) == b"held up"  # by the sender's retransmission
    assert len(probe(lab.client, lab.server, 3).rtts) == 3


def test_cut_loses_what_is_under_way(new_lab: NewLab) -> None:
    lab = new_lab(rtt=4.0)
    if lab.wan.netem:
        pytest.skip("netem holds packets after the cut, as a queue behind the broken link would")
    with lab.client.socket(kind=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"late", (lab.server.v4, 9))
        lab.wan.cut()
        assert lab.wan.dropped("cut") == (0, 0)
        assert until(lambda: lab.wan.dropped("cut").towards_dc == 1)


def test_changes_keep_what_they_do_not_name(lab: Lab) -> None:
    lab.wan.set(rate=1e6, rtt=0.05)
    profile = lab.wan.set(loss=0.01)
    assert (profile.rate, profile.rtt, profile.loss) == (1e6, 0.05, 0.01)
    with pytest.raises(ValueError, match="fractions"):
        lab.wan.set(loss=2.0)
    assert isinstance(lab.wan, Wan)
    assert lab.wan.profile == profile


def test_hosts_run_commands_and_threads_inside(module_lab: Lab) -> None:
    done = module_lab.dc.run(["ip", "-o", "address"], capture_output=True, text=True, check=True)
    assert "10.2.0.1/16" in done.stdout
    assert "fd02::1/48" in done.stdout
    child = module_lab.branch.popen(["cat", "/proc/self/net/dev"], stdout=-1, text=True)
    output, _ = child.communicate()
    assert child.returncode == 0
    assert "lan0" in output
    assert "wan0" in output
    with pytest.raises(ZeroDivisionError):
        module_lab.server.call(lambda: 1 // 0)
    assert (
        module_lab.client.read("/proc/sys/net/ipv4/tcp_congestion_control").strip() == module_lab.congestion
    )
