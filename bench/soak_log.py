"""The log of a soak: how far the fab is while it works, and what is on it in the end."""

import hashlib
from collections import Counter, defaultdict
from datetime import datetime

import msgspec

from bench.stream_watch import Follower, read_all
from contracts.codec import header
from contracts.events import Action, Alert
from contracts.records import Record
from contracts.topics import Stream, topic_name
from fabpilot.reading import read_events
from streaming.log import Log

__all__ = ["Decisions", "FabClock", "decisions", "fab_digest"]

_HOUR_MS = 3_600_000
# What the fab says by itself.
_FAB = (Stream.PROCESS, Stream.EQUIPMENT, Stream.TRACES, Stream.METROLOGY, Stream.WAFER_MAPS)


class FabClock:
    """How many hours of the fab have passed, by the times of its events on the log.

    Args:
        url: of the log; one that is away is opened again.
        site: of the fab.
        start_ms: the fab's clock at its start.
    """

    def __init__(self, url: str, site: str, start_ms: int) -> None:
        self._start_ms = start_ms
        self.hour = 0.0
        self._follower = Follower(url, topic_name(site, Stream.PROCESS), self._take)

    def close(self) -> None:
        """Look no more."""
        self._follower.close()

    def _take(self, records: list[Record]) -> None:
        for record in records:
            said = (header(record.headers, "ce_time") or b"").decode()
            at_ms = datetime.fromisoformat(said).timestamp() * 1000
            self.hour = max(self.hour, (at_ms - self._start_ms) / _HOUR_MS)


class Decisions(msgspec.Struct, frozen=True):
    """What the controllers said.

    Attributes:
        alerts: the last revision of each, by id.
        revisions: of alerts, in all.
        actions: distinct ones.
        doubled: revisions of alerts, and stages of actions, that are on the log more than once.
        gaps: alerts whose revisions are not 1, 2, 3, … in this order.
    """

    alerts: dict[str, Alert]
    revisions: int
    actions: int
    doubled: int
    gaps: int

    @property
    def causes(self) -> set[tuple[str, str, str]]:
        """Kind, pattern and suspected module of every alert."""
        return {(one.kind, one.pattern, one.suspect_module) for one in self.alerts.values()}


def decisions(log: Log, site: str) -> Decisions:
    """Read a site's alerts and actions as committed readers see them."""
    revisions: dict[str, list[int]] = defaultdict(list)
    alerts: dict[str, Alert] = {}
    for _, event in read_events(log, site, Stream.ALERTS):
        if isinstance(event, Alert):
            revisions[event.alert_id].append(event.revision)
            alerts[event.alert_id] = event
    stages: Counter[tuple[str, str]] = Counter()
    for _, event in read_events(log, site, Stream.ACTIONS):
        if isinstance(event, Action):
            stages[event.action_id, event.status] += 1
    return Decisions(
        alerts=alerts,
        revisions=sum(map(len, revisions.values())),
        actions=len({action for action, _ in stages}),
        doubled=sum(len(found) - len(set(found)) for found in revisions.values())
        + sum(count - 1 for count in stages.values()),
        gaps=sum(found != [*range(1, len(found) + 1)] for found in revisions.values()),
    )


def fab_digest(log: Log, site: str) -> dict[str, tuple[int, str]]:
    """Count and SHA-256 of each stream of the fab's own, whatever the order of its partitions."""
    found = {}
    for stream in _FAB:
        values = sorted(
            (header(r.headers, "ce_id") or b"") + b"\0" + r.value
            for r in read_all(log, topic_name(site, stream))
        )
        digest = hashlib.sha256()
        for value in values:
            digest.update(hashlib.sha256(value).digest())
        found[stream.value] = (len(values), digest.hexdigest())
    return found
