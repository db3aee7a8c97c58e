"""A directory is made again in the place of one that was: never from its disk, which would be an old state. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from vmhost.backup import archive
from vmhost.backup.manifest import Manifest
from vmhost.directory.planning import Again, Asked
from vmhost.errors import VmError
from vmhost.recipe import Recipe

_WHY = "its old state would undo what the other domain controllers have seen of it since"


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What only a person knows: the stage file of one that joins again, the `host` that is given a whole domain.

    `bundle` is the directory of the system that it boots; the one of its recipe if empty.
    """

    stage: dict[str, Any] | None = None
    host: str = ""
    bundle: str = ""


class _Machine(msgspec.Struct, frozen=True):
    """What the guest has said of itself. It may have been anybody's."""

    realm: str
    host: str
    site: str
    address: str
    gateway: str = ""
    resolvers: tuple[str, ...] = ()
    time: tuple[str, ...] = ()


def is_directory(recipe: Recipe) -> bool:
    """Whether its disk never comes back. Bundles are of directories."""
    return recipe.kind == "directory" or bool(recipe.bundle)


def again(recipe: Recipe, path: Path, manifest: Manifest, given: Given) -> tuple[Asked, Again]:
    """What is made in its place, from the backup in the directory `path`. VmError: why not, and what to do."""
    if recipe.role != "new":
        return _joins_again(recipe, given), Again(recipe=recipe)
    files = {one.file for one in manifest.archives}
    if not files >= {archive.FILE, archive.MACHINE}:
        raise VmError(
            "refused",
            f"{recipe.name} was the first of its domain: {_WHY}; the domain's archive is not in this backup: "
            "restore another",
        )
    machine = _told(path / archive.MACHINE)
    if not given.host or given.host.lower() == machine.host.lower():
        raise VmError(
            "refused",
            f"{recipe.name} was the first of its domain: {_WHY}. If other domain controllers are left, let a new one "
            f"join them (`branchline vm create directory --join dc`); if none is, `--host NAME` gives the domain of "
            f"this backup to a controller of another name than {machine.host}",
        )
    asked = Asked(
        bundle=_bundle(recipe, given),
        bridge=_bridge(recipe),
        name=str(recipe.name),
        join="new",
        realm=machine.realm,
        host=given.host,
        site=machine.site,
        address=machine.address,
        gateway=machine.gateway,
        resolvers=machine.resolvers,
        time=machine.time,
    )
    return asked, Again(recipe=recipe, archive=path / archive.FILE)


def _joins_again(recipe: Recipe, given: Given) -> Asked:
    realm = recipe.health.realm.lower() if recipe.health else "REALM"
    host = recipe.health.host.partition(".")[0] if recipe.health else ""
    if given.stage is None:
        what, where = "one of several directory servers", "the others hold what it held"
        if recipe.role == "rodc":
            what, where = "a read-only directory server", "all that it holds is at the centre"
        raise VmError(
            "refused",
            f"{recipe.name} is {what}: {_WHY}, and {where}. Stage it again at the centre (`branchline vm stage "
            f"directory FILE --again --realm {realm} --host {host or 'HOST'}` and what it was staged with), and give "
            "the file: `--stage FILE` makes it anew",
        )
    if recipe.role is None:
        raise VmError("refused", f"{recipe.name}: its recipe says no role; `branchline vm create directory`")
    return Asked(
        bundle=_bundle(recipe, given),
        bridge=_bridge(recipe),
        name=str(recipe.name),
        join=recipe.role,
        realm=str(given.stage.get("realm")),
        stage=given.stage,
    )


def _bundle(recipe: Recipe, given: Given) -> str:
    if not given.bundle and not recipe.bundle:
        raise VmError(
            "refused", f"{recipe.name} has no bundle to boot; `--bundle DIRECTORY` names a signed system"
        )
    return given.bundle or recipe.bundle


def _bridge(recipe: Recipe) -> str:
    if not recipe.networks:
        raise VmError(
            "refused", f"{recipe.name} has no network card; `branchline vm create directory` makes one"
        )
    return str(recipe.networks[0].bridge)


def _told(file: Path) -> _Machine:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Machine)
    except (OSError, msgspec.DecodeError) as error:
        raise VmError("refused", f"{file} cannot be read: {error}; restore another backup") from None
