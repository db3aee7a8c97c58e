"""Control's connections to the data processes, which to everybody else are one data plane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from appliance.control.merging import merged
from appliance.rpc import Params, RpcError
from appliance.rpc_asyncio import Connection
from appliance.spread import number_of, parts

TO = "process"
"""The parameter that says which process alone is meant, by its number; the process is not told."""


class Planes:
    """`on_event(number, event)`, `on_up(number)` and `on_down(number)` are told of the process with that number."""

    def __init__(
        self,
        run_dir: Path,
        of: int,
        *,
        on_event: Callable[[int, Any], None],
        on_up: Callable[[int], Awaitable[None]],
        on_down: Callable[[int], None],
    ) -> None:
        self._of = of
        self._connections = [
            Connection(
                run_dir / part.socket,
                on_event=partial(on_event, part.number),
                on_up=partial(on_up, part.number),
                on_down=partial(on_down, part.number),
            )
            for part in parts(of)
        ]

    @property
    def since(self) -> float:
        """When one came or went last, seconds since 1970."""
        return max(connection.since for connection in self._connections)

    async def run(self) -> None:
        """Keep the connections, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for connection in self._connections:
                group.create_task(connection.run())

    async def call(self, method: str, params: Params | None = None, *, within: float = 5.0) -> Any:
        """As of one data plane: see Connection.call and merging.merged. `process` in `params` names one of them."""
        params = dict(params or {})
        asked = self._connections
        if TO in params:
            asked = [asked[int(params.pop(TO)) - 1]]
        elif method == "clear_cache" and "peer" in params:
            asked = [asked[number_of(str(params["peer"]), self._of) - 1]]
        return merged(method, params, await _answers(asked, method, params, within))

    async def ask(self, method: str, params: Params | None, within: float) -> tuple[Any, dict[int, str]]:
        """What those say that answer, None if none does; and by their numbers, why the others do not."""
        answers = await _answers(self._connections, method, params or {}, within)
        silent = {
            number: answer.message if self._of == 1 else f"process {number} of {self._of}: {answer.message}"
            for number, answer in enumerate(answers, 1)
            if isinstance(answer, RpcError)
        }
        said = merged(method, params or {}, answers) if len(silent) < self._of else None
        return said, silent

    def number_of(self, peer: str) -> int:
        """The number of the process that has a peer."""
        return number_of(peer, self._of)


async def _answers(
    asked: Sequence[Connection], method: str, params: Params, within: float
) -> list[Any | RpcError]:
    async def one(connection: Connection) -> Any | RpcError:
        try:
            return await connection.call(method, params, within=within)
        except RpcError as error:
            return error

    return await asyncio.gather(*map(one, asked))
