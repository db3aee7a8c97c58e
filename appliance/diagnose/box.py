"""What the box says of itself, or what can be found of it when it says nothing."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import dedupe
from appliance.config import peers_d
from appliance.diagnose.redaction import redact, secrets_of
from appliance.identity import next_path
from appliance.rpc import Client, RpcError

EVENTS = 10_000
FLOWS = 10_000


class MissingError(Exception):
    """A part of the bundle cannot be had; the message says why."""


class Box:
    """A box by its control socket and its configuration file; either may be gone."""

    def __init__(self, socket_path: Path, config_path: Path) -> None:
        self._socket = socket_path
        self._config = config_path
        self._silent = ""

    def parts(self) -> dict[str, Callable[[], str]]:
        """What to read, by the name of the part. Each may raise MissingError."""
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "status": ("status", {}),
            "peers": ("peers", {}),
            "flows": ("flows", {"limit": FLOWS}),
            "config-in-force": ("config", {}),
        }
        parts: dict[str, Callable[[], str]] = {
            f"{name}.json": partial(self._asked, *what) for name, what in asked.items()
        }
        return parts | {
            "config-file.json": lambda: _json(redact(self._file())),
            "peers-d.json": lambda: _json(redact(self._enrolled())),
            "events.json": self._events,
            "cache.json": self._cache,
        }

    def secrets(self) -> list[bytes]:
        """Everything secret that this box is known to have: its key, and where that is."""
        found: list[bytes] = []
        for name in self._key_files():
            found.append(name.encode())
            try:
                found += secrets_of(Path(name).read_bytes())
            except OSError:
                continue  # nobody can give away what cannot be read
        return found

    def _key_files(self) -> set[str]:
        names = set()
        for read in (self._file, self._in_force):
            try:
                key = read()["box"]["key"]
            except (MissingError, KeyError, TypeError):
                continue
            path = (self._config.parent / str(key)).resolve()
            names |= {str(key), str(path), str(next_path(path))}
        return names

    def _state_dir(self) -> Path:
        for read in (self._in_force, self._file):
            try:
                return Path(read()["box"]["state_dir"])
            except (MissingError, KeyError, TypeError):
                continue
        return Path("/var/lib/branchline")

    def _in_force(self) -> Any:
        return self._ask("config", {})

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        if self._silent:
            raise MissingError(self._silent)
        try:
            with Client(self._socket) as client:
                return client.call(method, **params)
        except RpcError as error:
            raise MissingError(f"{method}: {error}") from None
        except OSError as error:  # who does not answer now will not answer the next question
            self._silent = f"{self._socket}: {error or type(error).__name__}"
            raise MissingError(self._silent) from None

    def _asked(self, method: str, params: dict[str, Any]) -> str:
        return _json(redact(self._ask(method, params)))

    def _file(self) -> Any:
        """As plain values, right or wrong; not as text, which may have secrets in a comment."""
        return _toml(self._config)

    def _enrolled(self) -> dict[str, Any]:
        """The files of peers that were enrolled, by their names."""
        try:
            return {path.name: _toml(path) for path in peers_d.files(self._config)}
        except OSError as error:
            raise MissingError(f"{error.filename}: {error.strerror}") from None

    def _events(self) -> str:
        try:
            return _lines(redact(self._ask("events", {"limit": EVENTS})))
        except MissingError:
            log = self._state_dir() / "events.jsonl"
            try:
                newest = log.read_text(errors="replace").splitlines()[-EVENTS:]
                return _lines(redact([json.loads(line) for line in newest]))
            except OSError as error:
                raise MissingError(f"{log}: {error.strerror}") from None
            except ValueError as error:
                raise MissingError(f"{log}: {error}") from None

    def _cache(self) -> str:
        try:
            return self._asked("cache", {"action": "status"})
        except MissingError:
            directory = self._state_dir() / "cache"
            try:
                return _json([asdict(report) for report in dedupe.inspect(directory)])
            except OSError as error:
                raise MissingError(f"{directory}: {error}") from None


def _toml(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MissingError(f"{path}: no TOML: {error}") from None


def _json(tree: Any) -> str:
    return json.dumps(tree, indent=1, default=str) + "\n"


def _lines(trees: list[Any]) -> str:
    return "".join(f"{json.dumps(tree, default=str)}\n" for tree in trees)
