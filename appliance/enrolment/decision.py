"""Whether a box that came with an invitation becomes a peer: the decision, without files or sockets."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from appliance.config import Config, Peer
from appliance.config.values import Name, Prefix, PublicKey
from appliance.config.verify import inside, problems
from appliance.enrolment.messages import Request
from appliance.identity import fingerprint, is_certificate
from appliance.trust import Invitation, Trust


class RefusedError(Exception):
    """It does not; the message says why and what to do, for the people at either end."""


def decide(
    config: Config, trust: Trust, certificate: bytes, request: Request, now: float
) -> tuple[Peer, Invitation]:
    """The peer to be, and the invitation that it has used. `certificate` is that of the one-time key; RefusedError.

    A box that comes again with the same key is answered again: the first answer may have been lost.
    """
    invitation = trust.invitation(certificate)
    if invitation is None:
        raise RefusedError("this invitation was withdrawn; ask for another")
    peer = _peer(config, invitation, request)
    mark = fingerprint(peer.key.der)
    if invitation.taken_by not in ("", mark):
        raise RefusedError(
            f"this token was used already, by the box with the key {invitation.taken_by}; ask for another"
        )
    if not invitation.made <= now < invitation.expires:
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(invitation.expires))
        raise RefusedError(f"this token was good until {when} by the centre's clock; ask for another")
    if request.box != invitation.branch:
        raise RefusedError(
            f'this token is for "{invitation.branch}", and the box calls itself "{request.box}"; correct its box.id'
        )
    if trust.revoked(mark):
        raise RefusedError(f"the key {mark} was revoked; move its file away, so that a new one is made")
    before = config.peer(str(peer.id))
    if before is None:
        _check(config, peer)
    elif before.key != peer.key:
        raise RefusedError(f'there is a peer "{peer.id}" with another key; revoke it first')
    else:
        peer = before
    return peer, invitation


def granted(prefixes: Iterable[str]) -> tuple[Prefix, ...]:
    """The prefixes of an invitation or a request; RefusedError if one is none."""
    try:
        return tuple(Prefix.parse(prefix) for prefix in prefixes)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _peer(config: Config, invitation: Invitation, request: Request) -> Peer:
    try:
        key = PublicKey.parse(request.key)
    except ValueError as error:
        raise RefusedError(f"the box's key {error}") from None
    if not is_certificate(key.der):
        raise RefusedError("the box's key is no certificate")
    claimed, may = granted(request.prefixes), granted(invitation.prefixes)
    if may:
        for prefix in claimed:
            if not any(inside(prefix.network, wide.network) for wide in may):
                raise RefusedError(f"box.prefixes has {prefix}, and the invitation grants {', '.join(may)}")
    else:
        may = claimed
        _check_claim(config, invitation.branch, claimed)
    return Peer(id=Name(invitation.branch), key=key, prefixes=may)


def _check_claim(config: Config, branch: str, claimed: tuple[Prefix, ...]) -> None:
    """What nobody granted must not touch what others have: the longest prefix would take their traffic."""
    if not claimed:
        raise RefusedError(
            "the box has no prefixes yet; invite it with --prefix, or write them into its box.prefixes"
        )
    owners = [("this box", prefix) for prefix in config.box.prefixes]
    owners += [
        (f'"{peer.id}"', prefix) for peer in config.peers if peer.id != branch for prefix in peer.prefixes
    ]
    for prefix in claimed:
        for owner, other in owners:
            if inside(prefix.network, other.network) or inside(other.network, prefix.network):
                raise RefusedError(
                    f"{prefix} overlaps {other} of {owner}; if it should, invite the box with --prefix {prefix}"
                )


def _check(config: Config, peer: Peer) -> None:
    for problem in problems(msgspec.structs.replace(config, peers=(*config.peers, peer))):
        raise RefusedError(f"{problem.problem}; {problem.remedy}")
