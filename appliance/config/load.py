"""From a TOML file to a verified `Config`, or a ConfigError that a person can act on."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import peers_d
from appliance.config.error import ConfigError
from appliance.config.schema import Box, Cache, Config, Limits, Peer, Rule, Vm
from appliance.config.schema import Path as WanPath
from appliance.config.verify import field_facts, problems
from appliance.config.written import plain
from appliance.identity import IdentityError, is_certificate, load_identity

_LARGEST_FILE = 2 * 2**20  # as a request to the data plane it may be twice that
_SECTIONS: dict[str, type[Any]] = {
    "": Config,
    "box": Box,
    "peers": Peer,
    "peers.paths": WanPath,
    "rules": Rule,
    "cache": Cache,
    "limits": Limits,
    "vm": Vm,
}
_PEER = re.compile(r"peers\[(\d+)\]")
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_PLAIN = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a fraction",
    "bool": "true or false",
    "array": "a list [ ]",
    "object": "a table",
}


def load(path: Path | str, *, files: bool = True) -> Config:
    """Read and verify the configuration at `path` (TOML, or JSON as `to_dict` gives it if it ends in .json).

    The files of `peers.d` beside a TOML file belong to it. Relative paths in it become absolute. ConfigError for
    whatever is wrong, with nothing changed anywhere. `files=False` leaves the key file alone: for a configuration that
    is meant for another machine.
    """
    path = Path(path)
    tree = _read(path, str(path))
    origins: list[tuple[str, int]] = []  # of the peers that have files of their own: file, place in it
    first = 0
    if path.suffix != ".json" and isinstance(tree.setdefault("peers", []), list):
        first = len(tree["peers"])
        for file, at, peer in _enrolled(path):
            tree["peers"].append(peer)
            origins.append((str(file), at))
    try:
        return _verified(path, tree, files=files)
    except ConfigError as error:
        raise _located(error, first, origins) from None


def _enrolled(path: Path) -> list[tuple[Path, int, Any]]:
    """File, place in it and fields of each peer in `peers.d`."""
    try:
        found = peers_d.files(path)
    except OSError as error:
        raise ConfigError(
            str(error.filename), "", f"cannot be read ({error.strerror})", "let root own it"
        ) from None
    peers = []
    for file in found:
        tree = _read(file, str(file))
        if tree.keys() != {"peers"} or not isinstance(tree["peers"], list):
            other = ", ".join(sorted(tree.keys() - {"peers"}))
            raise ConfigError(
                str(file),
                other,
                "does not belong here",
                f"a file of peers.d holds [[peers]]; the rest is for {path}",
            )
        peers += [(file, at, peer) for at, peer in enumerate(tree["peers"])]
    return peers


def _located(error: ConfigError, first: int, origins: list[tuple[str, int]]) -> ConfigError:
    """The same, of the file in which the peer stands that it is about."""
    about = _PEER.match(error.key)
    if about is None or not origins or int(about[1]) < first:
        return error
    file, at = origins[int(about[1]) - first]
    return ConfigError(file, f"peers[{at}]{error.key[about.end() :]}", error.problem, error.remedy)


def _verified(path: Path, tree: dict[str, Any], *, files: bool) -> Config:
    name = str(path)
    config = from_dict(tree, name)
    key = Path(os.path.abspath(path.parent / config.box.key))
    config = msgspec.structs.replace(config, box=msgspec.structs.replace(config.box, key=str(key)))
    if files:
        try:
            own = load_identity(key)
        except IdentityError as error:
            raise ConfigError(name, "box.key", error.problem, error.remedy) from None
        for at, peer in enumerate(config.peers):
            if peer.key.der == own.certificate:
                raise ConfigError(
                    name,
                    f"peers[{at}].key",
                    "is this box's own key",
                    f'paste the one that `branchline key show` prints on the box "{peer.id}"',
                )
    return config


def from_dict(tree: dict[str, Any], name: str = "configuration") -> Config:
    """A verified `Config` from plain values (as TOML, JSON and `to_dict` give them); ConfigError naming `name`."""
    try:
        config = msgspec.convert(tree, Config, dec_hook=_parse)
    except msgspec.ValidationError as error:
        raise _explained(str(error), name) from None
    for at, peer in enumerate(config.peers):
        if not is_certificate(peer.key.der):
            raise ConfigError(
                name,
                f"peers[{at}].key",
                "is not a public key",
                "paste the line that `branchline key show` prints on that box, all of it",
            )
    for problem in problems(config):
        raise ConfigError(name, *problem)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values that `from_dict` takes: numbers are bytes and seconds."""
    return plain(config)


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            name,
            "",
            f"cannot be read ({error.strerror})",
            "`branchline config example` prints one to start from",
        ) from None
    if len(data) > _LARGEST_FILE:
        raise ConfigError(name, "", "is larger than 2 MiB", "is it the right file?")
    try:
        tree = (
            msgspec.json.decode(data) if path.suffix == ".json" else tomllib.loads(data.decode("utf-8-sig"))
        )
    except UnicodeDecodeError as error:
        raise ConfigError(name, "", f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    except (
        ValueError,
        msgspec.DecodeError,
        RecursionError,
    ) as error:  # a ValueError: tomllib's, or a huge number
        raise ConfigError(
            name,
            "",
            f"cannot be understood: {error}",
            "text is written in quotes, lists in [ ]; see docs/CONFIG.md",
        ) from None
    if not isinstance(tree, dict):
        raise ConfigError(name, "", "is not a table of sections", "`branchline config example` prints one")
    return tree


def _parse(kind: type[Any], value: Any) -> Any:
    # Every type of the schema that msgspec does not know is one of ours, from units.py or values.py.
    return kind.parse(value)


def _explained(message: str, name: str) -> ConfigError:
    """A ConfigError from msgspec's message: "… - at `$.peers[0].id`"."""
    found = _PATH.search(message)
    key = found[1] if found else ""
    problem = _PATH.sub("", message)
    section = _section(key)
    parent, _, last = key.rpartition(".")
    if unknown := _UNKNOWN.fullmatch(problem):
        return ConfigError(
            name, _join(key, unknown[1]), "there is no such field", _meant(unknown[1], section)
        )
    if missing := _MISSING.fullmatch(problem):
        field = missing[1]
        return ConfigError(name, _join(key, field), "is missing", f"write it: {_sentence(section, field)}")
    if problem.startswith(("Expected ", "Invalid ")):
        problem = re.sub(r"`(\w+)(?: \| null)?`", lambda word: _PLAIN.get(word[1], f'"{word[1]}"'), problem)
        problem = problem.replace("Expected ", "must be ").replace(", got", ", not")
        problem = problem.replace("Invalid enum value", "cannot be")
        return ConfigError(name, key, problem, _sentence(_section(parent), last))
    what, _, remedy = problem.rpartition("; ")
    return ConfigError(name, key, what or problem, remedy)


def _join(key: str, field: str) -> str:
    return f"{key}.{field}" if key else field


def _section(key: str) -> type[Any]:
    """The section that `key` is, or is a field of: `peers[0].paths[1].dial[0]` is one of a path."""
    names = re.sub(r"\[.*?\]", "", key).split(".")
    return _SECTIONS.get(".".join(names[:2])) or _SECTIONS.get(names[0], Config)


def _meant(field: str, section: type[Any]) -> str:
    fields = list(section.__struct_fields__)
    close = difflib.get_close_matches(field, fields, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"the fields here are: {', '.join(fields)}"


def _sentence(section: type[Any], field: str) -> str:
    facts = field_facts(section).get(field.partition("[")[0], {})
    return str(facts.get("description", "see docs/CONFIG.md"))
