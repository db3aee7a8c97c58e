"""What a directory's machine is to be: from what was asked and staged, to its seed and its recipe. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec

from vmhost.directory import staged
from vmhost.directory.guest.seed import FORMAT, checker
from vmhost.domain import Accelerator
from vmhost.errors import VmError
from vmhost.health.plan import Health
from vmhost.recipe import Arch, Recipe, parse

SEED = "seed"
"""Name of the disk with the secrets, which goes when they have been used."""
HEALTH_FILE, CA_FILE, PASSWORD_FILE = "health-password", "ca.pem", "administrator-password"
"""In the machine's directory, for root alone: what its health is checked with; a new domain's administrator."""
_WITHIN_S: Mapping[Accelerator, int] = {"kvm": 5, "tcg": 15}
"""How long each question of a health check may take. An emulated guest needs its time."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directory's machine, as it is asked for. Sizes as in a recipe."""

    join: Literal["rodc", "dc", "new"]
    realm: str
    bundle: str
    bridge: str
    name: str = "directory"
    memory: str = "1GiB"
    vcpus: int = 1
    data: str = "16GiB"
    stage: dict[str, Any] | None = None
    """What the stage file says; for `new` there is none, and what follows is said instead."""
    host: str = ""
    site: str = ""
    address: str = ""
    gateway: str = ""
    resolvers: tuple[str, ...] = ()
    time: tuple[str, ...] = ()


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory that is made again has of the one that it was: its recipe, and of `new` the domain's archive."""

    recipe: Recipe
    archive: Path | None = None


def like(made: Recipe, was: Recipe) -> Recipe:
    """The recipe of one that is made again: as it `was`, but for what belongs to the system and the domain."""
    sizes = {disk.name: disk.size for disk in was.disks}
    disks = tuple(
        disk if disk.image else msgspec.structs.replace(disk, size=sizes.get(disk.name) or disk.size)
        for disk in made.disks
    )
    return msgspec.structs.replace(
        was, kind=made.kind, role=made.role, bundle=made.bundle, disks=disks, health=made.health
    )


def seed(asked: Asked, password: str, health: str) -> dict[str, Any]:
    """All but the TLS key. VmError if what was asked does not fit.

    Of a new domain `password` is its administrator's and `health` that of the account it is checked by.
    """
    realm = _checked("realm", staged.realm, asked.realm)
    if asked.join == "new":
        address = _checked("address", staged.address, asked.address)
        host = _checked("host", staged.host, asked.host)
        return {
            "format": FORMAT,
            "role": "new",
            "realm": realm,
            "host": host,
            "site": _checked("site", staged.site, asked.site),
            "address": address,
            "gateway": _checked("gateway", lambda text: staged.gateway(text, address), asked.gateway),
            "resolvers": [_checked("resolvers", staged.resolver, one) for one in asked.resolvers],
            "time": [_checked("time", staged.server, one) for one in asked.time],
            "halves": {"workgroup": realm.partition(".")[0][:15]},
            "password": password,
            "health": {"account": checker(host), "password": health},
        }
    stage = asked.stage or {}
    if stage.get("format") != FORMAT or not _is_whole(stage):
        raise VmError("refused", "the stage file is not one of this release; stage the machine again")
    if (stage["role"], stage["realm"]) != (asked.join, realm):
        raise VmError(
            "refused",
            f"the stage file is for a {stage['role']} of {stage['realm']}, not for a {asked.join} of {realm}; "
            "is it the right file?",
        )
    if asked.host or asked.site or asked.address or asked.gateway:
        raise VmError("refused", "host, site, address and gateway were staged; leave them out")
    return dict(stage)


def _is_whole(stage: Mapping[str, Any]) -> bool:
    texts = ("role", "realm", "host", "site", "address", "gateway", "password")
    lists: dict[str, Callable[[str], object]] = {
        "resolvers": staged.resolver,
        "time": staged.server,
        "centre": staged.server,
        "prefetch": UUID,
    }
    try:
        staged.host(stage["host"])
        staged.site(stage["site"])
        staged.gateway(stage["gateway"], staged.address(stage["address"]))
        for name, check in lists.items():
            for one in stage[name]:
                check(one)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    health = stage.get("health")
    return (
        isinstance(health, dict)
        and health.get("account") == checker(stage["host"])
        and isinstance(health.get("password"), str)
        and all(isinstance(stage.get(name), str) for name in texts)
        and all(isinstance(stage.get(name), list) for name in lists)
        and bool(stage["centre"])
        and isinstance(stage.get("halves"), dict)
    )


def _checked(name: str, check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except ValueError as error:
        raise VmError("config", f"{name}: {error}") from None


def is_joining(recipe: Mapping[str, Any]) -> bool:
    """Whether a machine with that recipe, as it is kept, has its seed still."""
    return any(disk.get("name") == SEED for disk in recipe.get("disks", []))


def must_have_joined(name: str, recipe: Mapping[str, Any]) -> None:
    """VmError while the machine `name` is on its way into its domain: its seed has secrets, and may be taken back."""
    if is_joining(recipe):
        raise VmError(
            "refused",
            f"{name} is not a directory yet; try again when it serves (`branchline events` says vm.directory)",
        )


def health_of(recipe: Recipe) -> Health:
    """How a directory's machine is checked. VmError if it is not: nobody can say then whether it serves."""
    if recipe.health is None:
        raise VmError("failed", f"the recipe of {recipe.name} has no [health]")
    return recipe.health


def recipe(
    asked: Asked,
    seed: Mapping[str, Any],
    seed_image: str,
    directory: Path,
    arch: Arch,
    accelerator: Accelerator | None,
) -> Recipe:
    """Of the machine, whose files are in `directory` and system is for `arch`, which runs here by `accelerator`.

    Its last disk is the seed.
    """
    say = partial(json.dumps, ensure_ascii=False)  # TOML's basic strings are JSON's, without surrogates
    text = f"""
name = {say(asked.name)}
kind = "directory"
role = {say(asked.join)}
memory = {say(asked.memory)}
vcpus = {asked.vcpus}
arch = {say(arch)}
autostart = true
stop_within = "180s"
bundle = {say(asked.bundle)}
[[disks]]
name = "data"
size = {say(asked.data)}
[[disks]]
name = {say(SEED)}
image = {say(seed_image)}
[[networks]]
bridge = {say(asked.bridge)}
[health]
kind = "directory"
address = {say(seed["address"].partition("/")[0])}
within = "{_WITHIN_S[accelerator or "tcg"]}s"
realm = {say(seed["realm"])}
host = {say(f"{seed['host']}.{seed['realm'].lower()}")}
site = {say(seed["site"])}
account = {say(seed["health"]["account"])}
secret = {say(str(directory / HEALTH_FILE))}
ca = {say(str(directory / CA_FILE))}
"""
    return parse(text, "create directory")
