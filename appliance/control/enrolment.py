"""How boxes become peers of this one, and cease to be: invitations, what comes of them, revocation."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import Config, Peer, peers_d
from appliance.config.values import Endpoint, Name, PublicKey
from appliance.config.verify import problems
from appliance.control.in_force import Emit, InForce
from appliance.control.planes import TO, Planes
from appliance.enrolment.decision import RefusedError, decide, granted
from appliance.enrolment.messages import Answer, Request
from appliance.enrolment.token import Token
from appliance.identity import IdentityError, fingerprint, load_identity
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import AsyncHandler
from appliance.trust import Invitation, Trust
from vmhost import apart
from vmhost.errors import VmError

USUAL_LIFE_S = 3600.0
LONGEST_LIFE_S = 7 * 86400.0


class Enrolment:
    """The methods `enrol_…` of the control socket. `source` is the configuration file, beside which `peers.d` is."""

    def __init__(
        self,
        source: Path,
        in_force: InForce,
        data: Planes,
        emit: Emit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._in_force = in_force
        self._data = data
        self._emit = emit
        self._clock = clock
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def handlers(self) -> dict[str, AsyncHandler]:
        """By the name of the method."""
        return {
            "enrol_invite": self.invite,
            "enrol_list": self.invitations,
            "enrol_withdraw": self.withdraw,
            "enrol_revoke": self.revoke,
        }

    async def invite(self, params: Params) -> dict[str, Any]:
        """A token for `branch`, good once and for `life` seconds: it may have `prefixes`, and dials `dial`."""
        life = float(params.get("life") or USUAL_LIFE_S)
        if not 1 <= life <= LONGEST_LIFE_S:
            raise RpcError("bad_request", f"a token is good for 1 to {LONGEST_LIFE_S:.0f} seconds")
        config = self._in_force.config
        token = await asyncio.to_thread(self._token, config, params)
        try:  # before anything is held: a process that crawls must not keep anybody from the big red button
            told = await asyncio.to_thread(apart.ask, "appliance.enrolment.token", str(token))
        except VmError as error:
            raise RpcError("failed", f"{error}; nothing was changed") from None
        key = PublicKey.parse(told)
        async with self._in_force.changing:
            if self._in_force.config is not config:
                raise RpcError(
                    "failed", "the configuration has changed meanwhile, and nothing else; try again"
                )
            now = self._clock()
            invitation = Invitation(
                branch=token.branch,
                certificate=key.der,
                made=now,
                expires=now + life,
                prefixes=_grant(config, token, key, params.get("prefixes") or []),
            )
            await self._put(self._in_force.trust.inviting(invitation, now))
        text = f"{token.branch} is invited for {life:.0f} s"
        self._emit("enrol.invited", "info", text, {"branch": token.branch, "prefixes": invitation.prefixes})
        return {"token": str(token), **_described(invitation, now)}

    async def invitations(self, _params: Params) -> list[dict[str, Any]]:
        """Those that are open, and those that were not long ago."""
        return [_described(found, self._clock()) for found in self._in_force.trust.invitations]

    async def withdraw(self, params: Params) -> dict[str, Any]:
        """The `branch` is not invited any more."""
        branch = str(params.get("branch", ""))
        async with self._in_force.changing:
            trust, now = self._in_force.trust, self._clock()
            if not any(found.branch == branch and found.open(now) for found in trust.invitations):
                raise RpcError("not_found", f'no invitation of "{branch}" is open')
            await self._put(trust.withdrawing(branch))
        self._emit("enrol.withdrawn", "info", f"the invitation of {branch} was withdrawn", {})
        return {}

    async def revoke(self, params: Params) -> dict[str, Any]:
        """The key of `peer` is refused from now on: its lanes are cut, its flows reset, its file in peers.d removed."""
        async with self._in_force.changing:
            name = str(params.get("peer", ""))
            config = self._in_force.config
            peer = config.peer(name)
            if peer is None:
                known = ", ".join(other.id for other in config.peers) or "none"
                raise RpcError("not_found", f'there is no peer "{name}"; the peers are: {known}')
            mark, unsaved = fingerprint(peer.key.der), ""
            trust = self._in_force.trust.withdrawing(name)
            for key in {peer.key.der, *trust.keys(peer)}:
                trust = trust.revoking(name, fingerprint(key), self._clock())
            try:
                told = await self._in_force.put_trust(trust)
            except OSError as error:
                # A full disk must not keep anybody from cutting a stolen box off.
                told, unsaved = "told", str(error)
            self._emit("peer.revoked", "warning", f"the key of {name} was revoked", {"fingerprint": mark})
            if unsaved:
                text = f"a restart will forget that the key of {name} was revoked: {unsaved}"
                self._emit("peer.revoked_unsaved", "error", text, {"fingerprint": mark})
            left = await self._forget(config, peer)
        return {"peer": name, "fingerprint": mark, "data": told, "unsaved": unsaved, "left": left}

    async def _forget(self, config: Config, peer: Peer) -> str:
        """Takes a revoked peer out of the configuration; why it is still in it, else ""."""
        if not peers_d.has(self._source, str(peer.id)):
            return f"it still stands in {self._source}; take it out there"
        wanted = msgspec.structs.replace(
            config, peers=tuple(other for other in config.peers if other.id != peer.id)
        )
        for problem in problems(wanted):
            return (
                f"it is still named in {problem.key}; take it out there, then remove peers.d/{peer.id}.toml"
            )
        try:
            peers_d.remove(self._source, str(peer.id))
            await self._in_force.put(wanted)
        except (OSError, RpcError) as error:
            return f"its configuration could not be removed: {error}"
        return ""

    # Requests, which the data plane passes on.

    def asked(self, process: int, evidence: dict[str, Any]) -> None:
        """A box has come to that data process with an invitation: `ticket`, `certificate` of its key, `request`."""
        self._requests.put_nowait({**evidence, TO: process})

    async def run(self) -> None:
        """Decides one request after the other."""
        while True:
            evidence = await self._requests.get()
            try:
                answer = await self._decide(evidence)
            except RefusedError as error:
                self._emit("enrol.refused", "warning", f"a box was not enrolled: {error}", {})
                answer = {"refusal": str(error)}
            with contextlib.suppress(RpcError):  # the box has hung up, or comes again
                await self._data.call("enrol_answer", {key: evidence[key] for key in ("ticket", TO)} | answer)

    async def _decide(self, evidence: dict[str, Any]) -> dict[str, Any]:
        request = msgspec.convert(evidence["request"], Request)
        certificate = base64.b64decode(evidence["certificate"])
        async with self._in_force.changing:
            config, trust = self._in_force.config, self._in_force.trust
            peer, invitation = decide(config, trust, certificate, request, self._clock())
            if config.peer(str(peer.id)) is None:
                await self._take(config, trust, peer, invitation)
        own = [str(prefix) for prefix in config.box.prefixes]
        answer = Answer(str(config.box.id), own, [str(prefix) for prefix in peer.prefixes])
        return {"answer": msgspec.to_builtins(answer)}

    async def _take(self, config: Config, trust: Trust, peer: Peer, invitation: Invitation) -> None:
        """Uses the invitation up, then writes the peer down, then puts it in force; RefusedError, and nothing is."""
        name, mark = str(peer.id), fingerprint(peer.key.der)
        try:
            await self._in_force.put_trust(trust.taking(invitation, mark))
            peers_d.write(self._source, peer)
            await self._in_force.put(msgspec.structs.replace(config, peers=(*config.peers, peer)))
        except (OSError, RpcError) as error:
            with contextlib.suppress(OSError):
                peers_d.remove(self._source, name)
            with contextlib.suppress(OSError):  # the same box may come again either way
                await self._in_force.put_trust(trust)
            raise RefusedError(
                f"the centre cannot take it in now: {error}; mend that and try again"
            ) from None
        text = f"{name} was enrolled with the key {mark}"
        self._emit("enrol.done", "info", text, {"fingerprint": mark, "prefixes": list(peer.prefixes)})

    async def _put(self, trust: Trust) -> None:
        before = self._in_force.trust
        try:
            await self._in_force.put_trust(trust)
        except OSError as error:
            with contextlib.suppress(OSError):
                await self._in_force.put_trust(before)
            raise RpcError("failed", f"it cannot be remembered: {error}; nothing was changed") from None

    def _token(self, config: Config, params: Params) -> Token:
        try:
            branch = Name.parse(params.get("branch"))
            dial = tuple(Endpoint.parse(end) for end in params.get("dial") or _reachable(config))
            own = load_identity(Path(config.box.key))
        except (ValueError, IdentityError) as error:
            raise RpcError("bad_request", str(error)) from None
        if config.peer(branch) is not None or branch == config.box.id:
            raise RpcError(
                "bad_request", f'there is a box "{branch}" already; revoke it first, or choose another name'
            )
        if not dial:
            raise RpcError(
                "bad_request",
                "box.listen names no address of its own; say with --dial where the branch reaches this box"
                if config.box.listen
                else "this box has no box.listen, so nobody can dial it; add it, and `branchline reload`",
            )
        return Token.new(own.certificate, str(branch), tuple(map(str, dial)))


def _reachable(config: Config) -> list[str]:
    return [str(end) for end in config.box.listen if not end.address.is_unspecified]


def _grant(config: Config, token: Token, key: PublicKey, prefixes: list[str]) -> tuple[str, ...]:
    """The prefixes of a new invitation, checked now rather than when the branch comes. `key` stands for its own."""
    try:
        wanted = granted(prefixes)
    except RefusedError as error:
        raise RpcError("bad_request", str(error)) from None
    if wanted:
        peer = Peer(id=Name(token.branch), key=key, prefixes=wanted)
        for problem in problems(msgspec.structs.replace(config, peers=(*config.peers, peer))):
            raise RpcError("bad_request", f"{problem.problem}; {problem.remedy}")
    return tuple(map(str, wanted))


def _described(invitation: Invitation, now: float) -> dict[str, Any]:
    """An invitation as `branchline enrol list` shows it."""
    state = "taken" if invitation.taken_by else "open" if invitation.open(now) else "expired"
    return {
        "branch": invitation.branch,
        "state": state,
        "made": invitation.made,
        "expires": invitation.expires,
        "prefixes": list(invitation.prefixes),
        "taken_by": invitation.taken_by,
    }
