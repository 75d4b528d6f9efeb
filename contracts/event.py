"""What every event has; the types themselves are in `contracts.events`."""

from typing import ClassVar

import msgspec

from contracts.topics import Stream

__all__ = ["Event"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every event has.

    Attributes:
        event_id: unique; derived from content for derived events.
        site: the fab it belongs to.
        time_ms: when it happened on the fab's clock, milliseconds since the epoch, UTC.
    """

    ce_type: ClassVar[str]
    stream: ClassVar[Stream]

    event_id: str
    site: str
    time_ms: int

    @property
    def key(self) -> str:
        """The log key: events with one key stay in order."""
        raise NotImplementedError

    @property
    def trace_root(self) -> str:
        """What its distributed trace is about: a wafer, an action or an alert where it has one."""
        for name in ("substrate_id", "action_id", "alert_id"):
            if found := getattr(self, name, ""):
                return str(found)
        return self.event_id
