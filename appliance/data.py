"""The data plane: flows, lanes and the interception table, which vanishes with this process.

Started by the supervisor (or systemd) as `branchline-data`; `main` is the whole program.
"""

from __future__ import annotations

import base64
import dataclasses
import gc
import ipaddress
import os
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

import dedupe
from appliance import identity
from appliance.bypass import Bypass
from appliance.caches import Caches
from appliance.capture.feed import Feed
from appliance.config import Config, ConfigError, Limits, from_dict, load
from appliance.config import Peer as PeerConfig
from appliance.config.boxspec import box_spec
from appliance.config.difference import difference
from appliance.description import MOST_FLOWS, describe, describe_flow, next_flows
from appliance.doors import Doors
from appliance.enrolment.desk import Desk
from appliance.enrolment.messages import ASKED, Answer, Request
from appliance.events import Event, Severity
from appliance.flows import policy, reasons
from appliance.flows.buffers import Buffers
from appliance.flows.flow import Flow
from appliance.flows.one_way import OneWay
from appliance.gate import Gate
from appliance.intercept import (
    Accepted,
    BoxSpec,
    HalfOpen,
    Interception,
    NftError,
    PeerSpec,
    dial,
    half_open,
    let_go,
)
from appliance.intercept.stale import StaleTuples
from appliance.lanes import hint
from appliance.lanes.frames import VERSION, Address, Site
from appliance.lanes.lane import Lane
from appliance.lanes.reception import Reception
from appliance.lanes.usher import Usher
from appliance.loop import READ, Loop, Worker
from appliance.notify import Notifier
from appliance.peer import Peer
from appliance.precedence import go_first
from appliance.rotation import Rotation
from appliance.rpc import RpcError
from appliance.rpc_loop import RpcServer
from appliance.site import own as own_site
from appliance.spread import Part, number_of
from appliance.teller import Teller
from appliance.trust import Trust

HEARTBEAT_S = 0.15  # of the interception table: it lets new flows pass when four are missing
TABLE_CHECK_S = 2.0
WINDOWS_PART = 4  # of limits.memory that compression windows of each direction may take besides
SWITCH_S = 0.0005  # a thread that holds the GIL delays the loop by at most this


class DataPlane:
    """Everything of one box that carries flows."""

    def __init__(self, config: Config, notifier: Notifier, part: Part) -> None:
        self._part = part
        config = part.config(config)
        self.loop = Loop()
        self.worker = Worker(self.loop, "codec")
        self.buffers = Buffers(int(config.limits.memory))
        dedupe.allow_windows(int(config.limits.memory) // WINDOWS_PART)
        self.config = config
        self.incarnation = secrets.randbits(53)  # JSON numbers are exact up to there
        self.began = time.time()
        self.flows_accepted = 0
        self._notifier = notifier
        self._teller = Teller(self._publish, self.loop.clock)
        directory = Path(config.box.state_dir) / "cache"
        self._caches = Caches(self.loop, directory, str(config.box.id), self.emit, self._restore_cache, part)
        self._bypass = Bypass.load(Path(config.box.state_dir))
        self._trust = Trust.load(Path(config.box.state_dir))
        self._rotation = Rotation(Path(config.box.key), lambda peer: self._trust.keys(peer.config), self.emit)
        self._desk = Desk(self.loop, self._asked_to_enrol)
        self._holders: dict[bytes, str] = {}  # certificate → the peer that is known by it
        self._peers: dict[str, Peer] = {}
        self._contexts: dict[str, tuple[tuple[bytes, ...], ssl.SSLContext]] = {}  # by peer: of which keys
        self._policies: dict[str, policy.Policy] = {}
        self._beaten = 0.0
        self._beating = False
        self._checked = 0.0
        self._interception = Interception(self._spec(), HEARTBEAT_S)
        self._doors = Doors(self.loop, self._interception, self._spec, self._take, self.emit)
        self._gate = Gate(self.loop, self.buffers, config.limits, self._peers, self._doors, self.emit)
        self._stale: StaleTuples | None = None
        self._reception: Reception | None = None
        self._rpc: RpcServer | None = None
        self._feed = Feed(self.loop, self.emit)
        self._one_way = OneWay(self.loop, self._half_open, self._comes_one_way)
        self._draining = self._stopping = False

    # What the peers share (peer.Box).

    @property
    def id(self) -> str:
        return str(self.config.box.id)

    @property
    def heartbeat(self) -> float:
        return float(self.config.box.heartbeat)

    def site(self, peer: str) -> Site:
        config = self.config.peer(peer)
        keys = self._trust.keys(config) if config is not None else ()
        return msgspec.structs.replace(
            own_site(self.config, peer),
            next_key=self._rotation.announcement,
            accepts=identity.fingerprint(keys[-1]) if len(keys) > 1 else "",
        )

    @property
    def limits(self) -> Limits:
        return self.config.limits

    def admits(self, peer: str) -> bool:
        return self._gate.admits(peer)

    def full(self, peer: str) -> int:
        return self._gate.full(peer) or 0

    def number(self, peer: str) -> int:
        """Its place in the configuration, from 1, by which control's rules know it too."""
        return [str(config.id) for config in self.config.peers].index(peer) + 1

    def emit(self, kind: str, severity: Severity, subject: str, text: str, evidence: dict[str, Any]) -> None:
        self._teller.tell(kind, severity, subject or self.id, text, evidence)

    def _publish(self, event: Event) -> None:
        if self._rpc is not None:
            self._rpc.publish(event)

    def dial(
        self, client: Address, server: Address, source: Literal["client", "box"], dscp: int = 0
    ) -> socket.socket:
        return dial(client, server, source, dscp)

    def open_cache(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        return self._caches.open(peer, capacity, domain)

    def cache_used(self, cache: dedupe.Cache) -> None:
        self._caches.used(cache)

    def close_cache(self, cache: dedupe.Cache) -> None:
        self._caches.close(cache)

    def prepare(self, caches: list[dedupe.Cache]) -> None:
        self._caches.prepare(caches)

    def _restore_cache(self, peer: str, domain: int, cache: dedupe.Cache) -> bool:
        return self._peers[peer].take_cache(domain, cache)

    def rest(self, caches: list[dedupe.Cache]) -> None:
        self._caches.rest(caches)

    def refuse(self, server: Address, reason: str = "could not be reached") -> None:
        host, port = server
        try:
            seconds = self._interception.refuse(host, port)
        except NftError as error:
            self.emit("intercept.failed", "error", host, f"the kernel did not note a refusal: {error}", {})
            return
        text = f"{host} port {port}: {reason}; its flows pass through for {seconds:.0f} s"
        self.emit("flow.failed", "info", host, text, {"port": port, "seconds": seconds})

    def avoid(self, server: Address) -> None:
        host = server[0]
        try:
            seconds = self._interception.avoid(host)
        except NftError as error:
            self.emit("intercept.failed", "error", host, f"the kernel did not note a way round: {error}", {})
            return
        text = f"{host} answers past the peer's box; its flows pass through for {seconds:.0f} s"
        self.emit("route.asymmetric", "warning", host, text, {"port": server[1], "seconds": seconds})

    def _half_open(self) -> list[HalfOpen]:
        """Connections of clients to sites of this process's peers that have not completed."""
        try:
            found = half_open()
        except OSError:
            return []  # no descriptor is left: whoever accepts says so, and this can wait
        sites = [peer.sites.extent for peer in self._peers.values()]
        return [one for one in found if any(ipaddress.ip_address(one.server[0]) in site for site in sites)]

    def _comes_one_way(self, client: str, connections: list[HalfOpen]) -> None:
        try:
            seconds = self._interception.avoid_client(client)
            for one in connections:
                let_go(one.client, one.server, reasons.ONE_WAY_CLIENT)
        except (NftError, OSError) as error:
            self.emit(
                "intercept.failed", "error", client, f"the kernel did not let a client pass: {error}", {}
            )
            return
        text = (
            f"of what {client} sends only the first packet comes through this box; its flows pass through for "
            f"{seconds:.0f} s"
        )
        self.emit("route.one_way", "warning", client, text, {"seconds": seconds})

    def all_flows(self) -> Iterator[Flow]:
        for peer in self._peers.values():
            yield from peer.flows.values()

    def peer_changed(self, peer: Peer) -> None:
        """Opens or closes the peer's door: without a listener the kernel lets its flows pass."""
        if self._stopping or self._peers.get(peer.id) is not peer:
            return
        self._doors.want(peer.id, opened=peer.attachment.up)

    # Life.

    def start(self) -> None:
        """Opens everything, interception last. OSError, NftError or RpcError when something cannot be had."""
        run_dir = Path(self.config.box.run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        handlers = {
            "status": self._rpc_status,
            "flows": self._rpc_flows,
            "peers": self._rpc_peers,
            "reload": self._rpc_reload,
            "bypass": self._rpc_bypass,
            "caches": self._caches.describe,
            "clear_cache": self._rpc_clear_cache,
            "capture": lambda params: self._feed.start(self._peers.values(), params),
            "trust": self._rpc_trust,
            "keys": self._rpc_keys,
            "enrol_answer": self._rpc_enrol_answer,
            "sound": self._rpc_sound,
        }
        self._rpc = RpcServer(self.loop, run_dir / self._part.socket, handlers)
        self._reception = Reception(
            self.loop, self._adopt, self._report_refusal, self.config.limits.handshakes
        )
        if self._part.of > 1:
            self._reception.usher = Usher(
                self.loop, self._part, run_dir, self._whose, self._reception.admit, self._reception.refuse
            )
        self._reception.listen(_endpoints(self.config))
        self._stale = StaleTuples(self._part.number)
        self.loop.register(self._stale.fileno(), READ, self._stale_tuples)
        self._interception.open()
        self._caches.configure(self.config)
        for peer in self.config.peers:
            self._add_peer(str(peer.id))
        self._gate.configure(self.config.limits)
        self._caches.ready()
        self._pin()
        self._beat()
        evidence = {"pid": os.getpid(), "process": self._part.number}
        self.emit("data.started", "info", self.id, "the data plane is up", evidence)
        self._notifier.ready()

    def run(self) -> None:
        self.loop.run()

    def drain(self) -> None:
        """Stops when no flow is open any more, or after `limits.drain`."""
        if not self._draining:
            self._draining = True
            self._notifier.stopping()
            self._gate.drain(float(self.config.limits.drain), self._notifier.extend, self.stop)

    def stop(self) -> None:
        """Closes the doors first, so that new flows pass while the open ones are being reset."""
        if self._stopping:
            return
        self._draining = self._stopping = True
        self._notifier.stopping()
        self._doors.close()
        self._interception.close()
        for peer in self._peers.values():
            peer.close("the data plane stops")
        self._caches.stop()
        self._one_way.close()
        self._desk.close()
        if self._reception is not None:
            self._reception.close()
        self.emit("data.stopped", "info", self.id, "the data plane has stopped", {})
        if self._rpc is not None:
            self._rpc.close()
        self.loop.stop()

    # Peers.

    def _add_peer(self, peer_id: str) -> None:
        config = self.config.peer(peer_id)
        assert config is not None
        if not self._part.has(peer_id) or not self._trust.accepts(config):
            return
        context = self._client_context(config)
        peer = self._peers[peer_id] = Peer(self, config, context, self.config.domains(peer_id))
        self._policies[peer_id] = policy.Policy(self.config, peer_id)
        peer.start()

    def _client_context(self, config: PeerConfig) -> ssl.SSLContext:
        """To dial that peer with. To make one takes more than a millisecond, which a hub's flows would notice."""
        own, keys = self._rotation.own, self._trust.keys(config)
        pinned, context = self._contexts.get(config.id, ((), None))
        if context is None or pinned != (own.certificate, *keys):
            context = identity.tls_context(server_side=False, identity=own, peer_certs=keys)
            self._contexts[config.id] = (own.certificate, *keys), context
        return context

    def _drop_peer(self, peer_id: str, reason: str) -> None:
        self._doors.want(peer_id, opened=False)
        self._peers.pop(peer_id).close(reason)
        del self._contexts[peer_id]
        del self._policies[peer_id]

    def _pin(self) -> None:
        """Lets exactly the peers and the invited through TLS."""
        assert self._reception is not None
        self._holders = {
            key: peer_id for peer_id, peer in self._peers.items() for key in self._trust.keys(peer.config)
        }
        certificates = [*self._holders, *(found.certificate for found in self._trust.invitations)]
        self._reception.context = identity.tls_context(
            server_side=True, identity=self._rotation.own, peer_certs=certificates
        )

    def _whose(self, name: str) -> int:
        """The number of the process that has the peer with this hint; 0: nobody's."""
        for config in self.config.peers:
            if any(hint.meant(name, key) for key in self._trust.keys(config)):
                return number_of(str(config.id), self._part.of)
        return 0

    def _adopt(self, lane: Lane) -> bool:
        peer_id = self._holders.get(lane.certificate)
        if peer_id is not None:
            self._peers[peer_id].attachment.adopt(lane)
            return True
        if self._trust.invitation(lane.certificate) is not None:
            self._desk.take(lane)
            return True
        return False

    def _asked_to_enrol(self, ticket: int, lane: Lane, request: Request) -> None:
        invitation = self._trust.invitation(lane.certificate)
        branch = invitation.branch if invitation is not None else ""
        evidence = {
            "ticket": ticket,
            "certificate": base64.b64encode(lane.certificate).decode(),
            "request": msgspec.to_builtins(request),
        }
        text = f"a box at {lane.remote} asks to be enrolled as {branch}"
        self.emit(ASKED, "info", branch, text, evidence)

    def _report_refusal(self, remote: str, reason: str) -> None:
        text = f"a lane from {remote or 'somewhere'} was refused: {reason}"
        self.emit("lane.refused", "warning", remote, text, {"reason": reason})

    # Interception.

    def _spec(self) -> BoxSpec:
        """What the kernel is to do while no peer has a door."""
        spec = self._part.spec(box_spec(self.config, self._bypass))
        return dataclasses.replace(spec, peers=tuple(self._peer_spec(peer) for peer in spec.peers))

    def _peer_spec(self, spec: PeerSpec) -> PeerSpec:
        peer = self._peers.get(spec.id)
        if peer is None:
            return spec
        return dataclasses.replace(
            spec,
            full=self._gate.passing(peer),
            down_reason=reasons.of_peer(peer.attachment.state),
            site=peer.sites.extent.networks,
            elsewhere=peer.sites.extent.elsewhere,
        )

    def _take(self, peer: str, flow: Accepted) -> bool:
        """A flow that has come through a peer's door; False if there is no room for it."""
        if not self._gate.admits(peer):
            return False
        try:
            rule = self._policies[peer].match(flow.server)
            self._peers[peer].accept(flow.sock, flow.client, flow.server, rule)
        except OSError as error:
            self.refuse(flow.server, error.strerror or str(error))
            flow.sock.close()
        else:
            self.flows_accepted += 1
        return True

    def _stale_tuples(self, _events: int) -> None:
        assert self._stale is not None
        try:
            for stale in self._stale.read():
                self._stale.destroy(stale)
        except OSError as error:
            text = f"a connection that is in a client's way could not be removed: {error.strerror}"
            self.emit("intercept.failed", "error", self.id, text, {})

    def _beat(self) -> None:
        """The dead man's handle: through the codec's thread and the loop, then into the kernel."""
        if self._stopping:
            return
        self.loop.call_later(HEARTBEAT_S, self._beat)
        if not self._beating:
            self._beating = True
            self.worker.submit(lambda: None, self._beaten_through)

    def _beaten_through(self, _result: None, _error: Exception | None) -> None:
        self._beating = False
        if self._stopping:
            return
        now = self.loop.clock()
        try:
            if now - self._checked > TABLE_CHECK_S:
                self._checked = now
                self._rotation.check(list(self._peers.values()))
                if not self._interception.present():
                    self.emit(
                        "intercept.lost", "error", self.id, "the interception table was removed; put back", {}
                    )
                    self._interception.close()
                    self._interception.open()
                    self._doors.update()
            self._interception.heartbeat()
        except NftError as error:
            self.emit("intercept.failed", "error", self.id, f"the kernel refused the heartbeat: {error}", {})
        self._beaten = now
        self._notifier.watchdog()

    # Requests.

    def _rpc_status(self, _params: dict[str, Any]) -> dict[str, Any]:
        peers = self._rpc_peers({})
        keys = ("lan_in", "lan_out", "wan_in", "wan_out", "streams", "finished", "aborted")
        totals = {key: sum(peer[key] for peer in peers) for key in keys}
        return {
            "process": self._part.number,
            "pid": os.getpid(),
            "since": self.began,
            "incarnation": self.incarnation,
            "protocol": VERSION,
            "heartbeat_age_s": self.loop.clock() - self._beaten,
            "flows_intercepted": self.flows_accepted,
            "bypass": self._bypass.describe(),
            "limits": self._gate.describe(),
            "totals": totals,
            "peers": peers,
        }

    def _rpc_peers(self, _params: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._describe(peer) for peer in self._peers.values()]

    def _describe(self, peer: Peer) -> dict[str, Any]:
        description = describe(peer)
        described = description["since"]
        description["since"] = time.time() - (self.loop.clock() - described)
        passing = self._gate.passing(peer)
        if description["state"] == "up" and not self._doors.open_for(peer.id):
            description["state"] = "connecting"
            description["reason"] = (
                "its lanes are open; new flows pass through until the kernel has been told"
            )
        if passing is not None and description["state"] == "up":
            description["state"] = "draining" if passing == reasons.DRAINING else "full"
            description["reason"] = f"new flows pass through: {reasons.reason(passing).cause}"
        if self._bypass.covers(peer.id) and description["state"] in ("up", "full"):
            description["state"], description["reason"] = "bypassed", "switched off by an administrator"
        return description

    def _rpc_sound(self, params: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The queues on the way to these peers, in seconds, as far as they have told since this was asked last."""
        wanted = set(params.get("peers", ()))
        return {
            peer_id: {"path": peer.path, "depths": peer.sound(), "rtt": peer.rtt}
            for peer_id, peer in self._peers.items()
            if peer_id in wanted
        }

    def _rpc_flows(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        limit = int(params.get("limit", MOST_FLOWS))
        return [describe_flow(*each) for each in next_flows(self._peers, params.get("after"), limit)]

    def _rpc_reload(self, params: dict[str, Any]) -> dict[str, Any]:
        try:
            config = self._part.config(from_dict(params["config"], "the configuration from control"))
        except (KeyError, ConfigError) as error:
            raise RpcError("bad_request", str(error)) from error
        change = difference(self.config, config)
        if change.restart:
            raise RpcError(
                "refused", f"{', '.join(change.restart)} can only be changed by a restart of the data plane"
            )
        assert self._reception is not None
        try:
            self._reception.listen(_endpoints(config))  # what can fail comes first: then nothing has changed
        except OSError as error:
            raise RpcError("refused", str(error)) from error
        for peer_id in (change.peers_removed | change.peers_replaced) & self._peers.keys():
            self._drop_peer(peer_id, "the configuration has changed")
        self.config = config
        self._caches.configure(config)
        for peer_id in sorted(change.peers_added | change.peers_replaced):
            self._add_peer(peer_id)
        self._pin()
        for peer_id, peer in self._peers.items():
            self._policies[peer_id] = policy.Policy(config, peer_id)
            peer.configure(config.peer(peer_id) or peer.config, config.domains(peer_id))
            peer.attachment.heartbeat = self.heartbeat
        self.buffers.limit = int(config.limits.memory)
        dedupe.allow_windows(int(config.limits.memory) // WINDOWS_PART)
        self._gate.configure(config.limits)
        self._doors.update_now()
        return {"changed": change.describe()}

    def _rpc_clear_cache(self, params: dict[str, Any]) -> dict[str, Any]:
        """Empties the caches of one peer or all; a peer begins anew, which ends its flows."""
        wanted = params.get("peer")
        if wanted is not None and wanted not in self._peers:
            raise RpcError("not_found", f"there is no peer {wanted}")
        peers = [wanted] if wanted else list(self._peers)
        for peer_id in peers:
            self._drop_peer(peer_id, "its cache is cleared")
        try:
            for each in [wanted] if self._part.of == 1 else peers:  # other processes clear their own
                self._caches.clear(each)
            for peer_id in peers:
                text = f"the chunk cache of peer {peer_id} was cleared; its flows were broken off"
                self.emit("cache.cleared", "warning", peer_id, text, {})
        except (dedupe.StoreError, OSError) as error:
            raise RpcError("failed", str(error)) from error
        finally:
            for peer_id in peers:
                self._add_peer(peer_id)
        return {}

    def _rpc_trust(self, params: dict[str, Any]) -> dict[str, Any]:
        self._trust = Trust.from_dict(params)
        for peer_id, peer in list(self._peers.items()):
            if not self._trust.accepts(peer.config):
                self._drop_peer(peer_id, "its key was revoked")
        self._secure()
        self._doors.update_now()
        return {}

    def _rpc_keys(self, _params: dict[str, Any]) -> dict[str, Any]:
        """The key files may be others. Answers which peers have not taken the next key yet."""
        changed = self._rotation.look()
        self._secure()
        if changed:
            for peer in self._peers.values():
                peer.attachment.redial()
        return {"waiting": self._rotation.waiting(self._peers.values()) if self._rotation.next else []}

    def _secure(self) -> None:
        """Takes over whose keys are taken, and the own one; lanes that are open stay."""
        self._pin()
        for peer_id, peer in self._peers.items():
            peer.attachment.secure(self._client_context(peer.config))
            peer.configure(peer.config, self.config.domains(peer_id))

    def _rpc_enrol_answer(self, params: dict[str, Any]) -> dict[str, Any]:
        """What control has decided: `answer`, or `refusal`, for the lane of `ticket`."""
        ticket = int(params["ticket"])
        if params.get("refusal"):
            self._desk.refuse(ticket, str(params["refusal"]))
        else:
            self._desk.answer(ticket, msgspec.convert(params["answer"], Answer))
        return {}

    def _rpc_bypass(self, params: dict[str, Any]) -> dict[str, Any]:
        self._bypass = Bypass.from_dict(params)
        self._doors.update_now()
        return {"bypass": self._bypass.describe()}


def _endpoints(config: Config) -> tuple[Address, ...]:
    return tuple((end.host, end.port) for end in config.box.listen)


def main(argv: list[str] | None = None) -> int:
    """`branchline-data CONFIG SOURCE NUMBER`: the process with that number of those that CONFIG asks for.

    SIGTERM drains and stops it, SIGINT stops it at once.
    Exits 2 on a configuration error, 1 when something cannot be had.
    """
    arguments = sys.argv[1:] if argv is None else argv
    sys.setswitchinterval(SWITCH_S)
    go_first()
    dedupe.keep_heap()
    try:
        config = load(arguments[0])
        number = int(arguments[2]) if len(arguments) > 2 else 1
        plane = DataPlane(config, Notifier(), Part(number, config.box.processes))
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except (OSError, ValueError, NftError, ssl.SSLError) as error:
        print(f"branchline-data: {error}", file=sys.stderr)  # noqa: T201
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: plane.loop.call_threadsafe(plane.drain))
    signal.signal(signal.SIGINT, lambda _number, _frame: plane.loop.call_threadsafe(plane.stop))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # control reads the file and tells
    try:
        plane.start()
    except (OSError, NftError) as error:
        print(f"branchline-data: {error}", file=sys.stderr)  # noqa: T201
        plane.stop()
        return 1
    gc.freeze()  # what is here now stays for good
    gc.set_threshold(20_000, 20, 50)  # messages are made of short-lived tuples, and none of them in cycles
    plane.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
