"""Messages of the kernel's packet queue (nfnetlink_queue): building and reading them. Pure.

Formats: Linux include/uapi/linux/netfilter/nfnetlink_queue.h and nfnetlink.h. Netlink headers are in the
machine's byte order, the queue's own fields in network order.
"""

import struct

NETLINK_NETFILTER = 12
SUBSYSTEM = 3 << 8
PACKET, VERDICT, CONFIG, VERDICT_BATCH = SUBSYSTEM, SUBSYSTEM | 1, SUBSYSTEM | 2, SUBSYSTEM | 3
NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NF_ACCEPT = 1
COPY_METADATA = 1
FAIL_OPEN, AGGREGATES = 1, 4  # NFQA_CFG_F_FAIL_OPEN, NFQA_CFG_F_GSO

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_FAMILY = struct.Struct(">BBH")  # nfgenmsg: family, version, queue
_ATTRIBUTE = struct.Struct("=HH")
_PACKET = struct.Struct(">18xH4xI")  # queue, and the id of the packet in the first attribute
_VERDICT = struct.Struct(">II")
_ERROR = struct.Struct("=16xi")
SMALLEST_PACKET = _PACKET.size


def _message(kind: int, queue: int, attributes: bytes, flags: int = 0) -> bytes:
    length = _HEADER.size + _FAMILY.size + len(attributes)
    header = _HEADER.pack(length, kind, NLM_F_REQUEST | flags, 0, 0)
    return header + _FAMILY.pack(0, 0, queue) + attributes


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(padding)


def bind(queue: int) -> bytes:
    """Take a queue; the kernel answers (with an error when another process has it)."""
    return _message(CONFIG, queue, _attribute(1, struct.pack(">BBH", 1, 0, 0)), NLM_F_ACK)


def configure(queue: int, longest: int) -> bytes:
    """Metadata only, aggregates as they are, at most `longest` packets waiting; answered by the kernel.

    A packet too many goes on undelayed instead of being dropped: the link's loss is decided elsewhere.
    """
    attributes = (
        _attribute(2, struct.pack(">IB", 0, COPY_METADATA))
        + _attribute(3, struct.pack(">I", longest))
        + _attribute(4, struct.pack(">I", FAIL_OPEN | AGGREGATES))
        + _attribute(5, struct.pack(">I", FAIL_OPEN | AGGREGATES))
    )
    return _message(CONFIG, queue, attributes, NLM_F_ACK)


def release(queue: int, packet: int, *, older: bool) -> bytes:
    """Let a packet go on; with older=True also every one that was queued before it."""
    kind = VERDICT_BATCH if older else VERDICT
    return _message(kind, queue, _attribute(2, _VERDICT.pack(NF_ACCEPT, packet)))


def kind_of(data: bytes | bytearray | memoryview) -> int:
    """Message type of one datagram from the kernel, e.g. PACKET or NLMSG_ERROR."""
    return int.from_bytes(data[4:6], "little" if struct.pack("=H", 1)[0] else "big")


def packet(data: bytes | bytearray | memoryview) -> tuple[int, int]:
    """(queue, id) of a PACKET message of at least SMALLEST_PACKET bytes."""
    queue, number = _PACKET.unpack_from(data)
    return queue, number


def error(data: bytes | bytearray | memoryview) -> int:
    """errno of an NLMSG_ERROR message; 0 is an acknowledgement."""
    (code,) = _ERROR.unpack_from(data)
    return -int(code)
