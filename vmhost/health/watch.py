"""The health of the machines that run: checked again and again, and told when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import msgspec

from vmhost import calls
from vmhost.directory.planning import is_joining
from vmhost.errors import VmError
from vmhost.health.plan import Health, target_of
from vmhost.health.result import Result
from vmhost.health.round import check
from vmhost.health.standing import Standing
from vmhost.machines import Machines, Severity, Tree

LOOK_S = 10.0
"""How often it is seen which machines run."""
_SEVERITY: dict[str, Severity] = {"healthy": "info", "degraded": "warning", "failed": "error"}


class _Watched:
    def __init__(self, plan: Health, now: float) -> None:
        self.plan = plan
        self.standing = Standing(now, float(plan.every))
        self.checked: float | None = None
        self.task: asyncio.Task[None] | None = None


class Watch:
    """Of all `machines`. `scratch` is a directory, best in memory, for what a round needs as files."""

    def __init__(self, machines: Machines, scratch: Path) -> None:
        self._machines = machines
        self._scratch = scratch
        self._watched: dict[str, _Watched] = {}

    def state(self, name: str) -> str:
        """Of a machine; empty if it does not run, or is not checked."""
        return self._watched[name].standing.state if name in self._watched else ""

    async def told(self, name: str) -> list[Tree]:
        """What the last round has found of each machine that is checked, or of one."""
        if name:
            self._machines.must_know(name)
            if name not in self._watched:
                await self._look(time.monotonic())  # it may have been made a moment ago
            if name not in self._watched:
                raise VmError("refused", f"{name} is not checked: it is off, or its recipe has no [health]")
        now = time.monotonic()
        return [
            {
                "name": one,
                "state": watched.standing.state,
                "kind": watched.plan.kind,
                "address": watched.plan.address,
                "every": float(watched.plan.every),
                "age": None if watched.checked is None else now - watched.checked,
                "results": msgspec.to_builtins(watched.standing.results),
            }
            for one, watched in sorted(self._watched.items())
            if not name or one == name
        ]

    async def run(self) -> None:
        """Check what is due, until cancelled."""
        looked = -LOOK_S
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = time.monotonic()
                due = [
                    one for one in self._watched.items() if one[1].task is None and one[1].standing.due <= now
                ]
                if due or now - looked >= LOOK_S:
                    looked = now
                    with contextlib.suppress(VmError):  # libvirtd is gone; that is an event
                        await self._look(now)
                for name, watched in due:
                    if self._watched.get(name) is watched:
                        watched.task = tasks.create_task(self._check(name, watched))
                waiting = [one.standing.due for one in self._watched.values() if one.task is None]
                await asyncio.sleep(max(0.1, min([looked + LOOK_S, *waiting]) - time.monotonic()))

    async def _look(self, now: float) -> None:
        """Which machines run, and how they are to be checked."""
        plans = {}
        for one in await self._machines.link.do(calls.survey):
            if one.name in self._machines.making or is_joining(one.recipe):
                continue  # who makes it says what becomes of it
            recipe = self._machines.recipe(one)
            plan = None if recipe is None else recipe.health
            if plan is not None and one.state == "running":
                plans[one.name] = plan
        for name in self._watched.keys() - plans.keys():
            self._forget(name)
        for name, plan in plans.items():
            if name not in self._watched or self._watched[name].plan != plan:
                self._forget(name)
                self._watched[name] = _Watched(plan, now)

    def _forget(self, name: str) -> None:
        watched = self._watched.pop(name, None)
        if watched is not None and watched.task is not None:
            watched.task.cancel()

    async def _check(self, name: str, watched: _Watched) -> None:
        results = await check(target_of(watched.plan), scratch=self._scratch)
        watched.checked = time.monotonic()
        watched.task = None
        before = watched.standing.state
        if watched.standing.told(results, watched.checked) and self._watched.get(name) is watched:
            self._changed(name, before, watched.standing)

    def _changed(self, name: str, before: str, standing: Standing) -> None:
        wrong = [result for result in standing.results if not result.ok]
        listed = "; ".join(_sentence(result) for result in wrong)
        evidence = {"vm": name, "state": standing.state, "before": before}
        self._machines.tell(
            "vm.health",
            _SEVERITY[standing.state],
            f"{name} is {standing.state}{': ' if listed else ''}{listed}",
            {**evidence, "results": msgspec.to_builtins(standing.results)},
        )


def _sentence(result: Result) -> str:
    return f"{result.name}: {result.evidence} ({result.remedy})"
