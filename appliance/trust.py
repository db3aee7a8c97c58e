"""Whose keys this box lets in, beside those that its configuration pins: invitations, and keys that were revoked.

Control writes it to the state directory before anything follows it, so that it outlives every process; the data plane
reads it when it starts, and is told of changes. There is no secret in it: an invitation is kept as the certificate of
its one-time key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import Peer
from appliance.identity import fingerprint
from vmhost import durable

REMEMBERED_S = 7 * 86400.0  # an invitation that is over, to tell late comers what became of it


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """One box may enrol as `branch`; times are seconds since 1970 by this box's clock."""

    branch: str
    certificate: bytes
    made: float
    expires: float
    prefixes: tuple[str, ...] = ()
    """What it may say is its own; empty: what it says, as far as nobody else has it."""
    taken_by: str = ""
    """Fingerprint of the key that was enrolled with it."""

    def open(self, now: float) -> bool:
        """Whether a box may still come with it."""
        return not self.taken_by and self.made <= now < self.expires


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """A key that is refused whatever a configuration says."""

    peer: str
    fingerprint: str
    time: float


class Succession(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates that a peer is known by, the newest last, in place of the configured one.

    `instead_of`: fingerprint of that one. When people write another key into the configuration, that counts.
    """

    instead_of: str
    keys: tuple[bytes, ...]


class Trust(msgspec.Struct, frozen=True):
    """Immutable; a change is a new one."""

    invitations: tuple[Invitation, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    successions: dict[str, Succession] = {}

    @classmethod
    def load(cls, state_dir: Path) -> Trust:
        """What was saved last; nothing if nothing was. OSError or ValueError if it cannot be read."""
        path = _file(state_dir)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Trust)
        except FileNotFoundError:
            return cls()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}: {error}; it says which keys were revoked: bring it back from a backup, or delete it and "
                "revoke them again"
            ) from None

    def save(self, state_dir: Path) -> None:
        """Replace what is saved, whole or not at all; it is on disk when this returns. OSError as it comes."""
        durable.replace(_file(state_dir), msgspec.json.encode(self), mode=0o600)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Trust:
        """From what `describe` gives; ValueError if it is something else."""
        return msgspec.convert(dict(tree), cls)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        tree = msgspec.to_builtins(self)
        assert isinstance(tree, dict)
        return tree

    def accepts(self, peer: Peer) -> bool:
        """Whether the peer has a key that was not revoked."""
        return bool(self.keys(peer))

    def keys(self, peer: Peer) -> tuple[bytes, ...]:
        """The certificates that the peer is known by, the newest last."""
        found = self.successions.get(str(peer.id))
        known = found is not None and found.instead_of == fingerprint(peer.key.der)
        keys = found.keys if found is not None and known else (peer.key.der,)
        return tuple(key for key in keys if not self.revoked(fingerprint(key)))

    def revoked(self, mark: str) -> bool:
        """Whether the key with that fingerprint is refused."""
        return any(gone.fingerprint == mark for gone in self.revocations)

    def succeeding(self, peer: Peer, keys: tuple[bytes, ...]) -> Trust:
        """With other keys for a peer."""
        new = Succession(instead_of=fingerprint(peer.key.der), keys=keys)
        return msgspec.structs.replace(self, successions={**self.successions, str(peer.id): new})

    def invitation(self, certificate: bytes) -> Invitation | None:
        """The invitation with that one-time key."""
        return next((found for found in self.invitations if found.certificate == certificate), None)

    def inviting(self, invitation: Invitation, now: float) -> Trust:
        """With one more, in place of open ones for the same branch, and without those that were over long ago."""
        kept = (
            other
            for other in self.invitations
            if other.expires + REMEMBERED_S > now
            and not (other.branch == invitation.branch and not other.taken_by)
        )
        return msgspec.structs.replace(self, invitations=(*kept, invitation))

    def withdrawing(self, branch: str) -> Trust:
        """Without the branch's invitations."""
        kept = tuple(found for found in self.invitations if found.branch != branch)
        return msgspec.structs.replace(self, invitations=kept)

    def taking(self, invitation: Invitation, key: str) -> Trust:
        """With the invitation taken by the box whose key has that fingerprint."""
        taken = msgspec.structs.replace(invitation, taken_by=key)
        kept = (taken if found is invitation else found for found in self.invitations)
        return msgspec.structs.replace(self, invitations=tuple(kept))

    def revoking(self, peer: str, key: str, now: float) -> Trust:
        """With one more revoked key."""
        return msgspec.structs.replace(
            self, revocations=(*self.revocations, Revocation(peer=peer, fingerprint=key, time=now))
        )


def _file(state_dir: Path) -> Path:
    return state_dir / "trust.json"
