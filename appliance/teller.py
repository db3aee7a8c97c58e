"""Tells events, on standard error and to whoever has subscribed, but never the same one without end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from appliance.events import Event, Severity, say

EVENTS, EVENTS_S = 20, 10.0  # of one kind and subject in that time: a peer must not be able to fill the log
MOST_REMEMBERED = 10_000


class Teller:
    """`publish` takes each event that is told; `clock` is any steady clock, seconds."""

    def __init__(self, publish: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._publish = publish
        self._clock = clock
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # since when, how often

    def tell(
        self, kind: str, severity: Severity, subject: str, text: str, evidence: dict[str, Any] | None = None
    ) -> None:
        now = self._clock()
        began, count = self._told.get((kind, subject), (now - EVENTS_S, 0))
        if now - began < EVENTS_S:
            self._told[kind, subject] = (began, count + 1)
            if count >= EVENTS:
                return
        else:
            if count > EVENTS:
                text += f" (and {count - EVENTS} more of this kind were not told)"
            if len(self._told) >= MOST_REMEMBERED:
                self._told.clear()
            self._told[kind, subject] = (now, 1)
        event = Event(
            time=time.time(),
            kind=kind,
            severity=severity,
            subject=subject,
            text=text,
            evidence=evidence or {},
        )
        say(event)
        self._publish(event)
