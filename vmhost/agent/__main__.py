"""One question to an agent, in a process of its own: a guest that hangs, or says too much, holds up nothing else.

What is asked comes in as JSON on standard input, the answer goes out; on standard error and with status 1 why there
is none.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from vmhost.agent.asking import Asked
from vmhost.agent.facts import Facts, facts

_ANSWER_S = 5  # for each command, of which a question has a few


def _look(domain: Any) -> Facts:
    import libvirt

    found: dict[str, object] = {}
    for kind in (
        libvirt.VIR_DOMAIN_GUEST_INFO_OS,
        libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME,
        libvirt.VIR_DOMAIN_GUEST_INFO_INTERFACES,
        libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM,
    ):
        try:
            found |= domain.guestInfo(kind)
        except libvirt.libvirtError as error:
            if error.get_error_code() in (
                libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
                libvirt.VIR_ERR_AGENT_COMMAND_TIMEOUT,
            ):
                raise
            # An old agent, or a liar: what it does not tell is not known.
    return facts(found)


def _set_clock(domain: Any) -> None:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    domain.setTime({"seconds": seconds, "nseconds": nanoseconds})


def _shut_down(domain: Any) -> None:
    import libvirt

    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)


_DO = {"look": _look, "set_clock": _set_clock, "shut_down": _shut_down}


def _answer(asked: Asked) -> object:
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised; it would print them as well
    try:
        domain = libvirt.open(asked.uri).lookupByName(asked.name)
        domain.agentSetResponseTimeout(_ANSWER_S)
        return _DO[asked.do](domain)
    except libvirt.libvirtError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(_answer(msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)))
    )
