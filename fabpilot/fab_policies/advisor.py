"""The project's own controller as a policy: what it proposes is approved at once.

It is the engine that `fabpilot control` runs, fed with the events in the order of the log, each
through the codec as on the log; no log stands between, so a run needs no broker and is repeatable.
Wafer maps are scored by a model where there is one; without it the engine has the traces alone.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import msgspec

from contracts.codec import decode, encode
from contracts.events import Action, Alert, Event, WaferMap
from contracts.topics import Stream
from control.engine import Engine
from control.policy import Policy

__all__ = ["AdvisorPolicy", "Naming", "Score"]

Score = Callable[[Sequence[WaferMap]], Sequence[Event]]
"""Predictions for wafer maps."""

_NAME = "policy:advisor"
# An alert names a mode if it is more likely than not.
_NAMED = 0.5


class Naming(NamedTuple):
    """What an alert said was behind it."""

    time_ms: int
    module: str
    mode: str


class AdvisorPolicy:
    """The controller of one site, with every approval given.

    Args:
        policy: the controller's.
        site: its name.
        score: predicts patterns from maps; None leaves the maps out.

    Attributes:
        alerts: ids of those raised.
        namings: each time an alert named a failure mode; two where it says that two are at work.
    """

    def __init__(self, policy: Policy, site: str, score: Score | None) -> None:
        self._engine = Engine(policy, site)
        self._score = score
        wanted = {Stream.PROCESS, Stream.EQUIPMENT, Stream.TRACES, Stream.METROLOGY}
        if score is not None:
            wanted.add(Stream.WAFER_MAPS)
        self.streams: Collection[Stream] = frozenset(wanted)
        self.alerts: set[str] = set()
        self.namings: list[Naming] = []

    def observe(self, events: Sequence[Event], now_ms: int) -> list[Action]:
        """Hand everything to the engine; approve what it proposes."""
        maps = [event for event in events if isinstance(event, WaferMap)]
        told = list(events)
        if maps and self._score is not None:
            told += self._score(maps)
        approved = []
        for event in told:
            message = encode(event)
            for answer in self._engine.handle(decode(message.headers, message.value)):
                if isinstance(answer, Alert):
                    self._note(answer)
                elif isinstance(answer, Action) and answer.status == "proposed":
                    action = msgspec.structs.replace(
                        answer,
                        event_id=Action.event_id_for(answer.action_id, "approved"),
                        status="approved",
                        by=_NAME,
                        time_ms=now_ms,
                    )
                    self._engine.handle(action)
                    approved.append(action)
        return approved

    def _note(self, alert: Alert) -> None:
        self.alerts.add(alert.alert_id)
        if alert.status != "open":
            return
        for cause in alert.causes:
            if cause.mode and cause.probability >= _NAMED:
                self.namings.append(Naming(alert.time_ms, cause.module, cause.mode))
