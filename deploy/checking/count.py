"""Runs in a container of the platform: counts what is on the log of a site, as one JSON object."""

import json
import sys

from contracts.codec import decode
from contracts.events import Action, Alert, Prediction, WaferMap
from contracts.topics import Stream, topic_name
from fabpilot.settings import load_settings
from streaming.open import open_log


def main() -> None:
    """Read the streams to their ends."""
    settings = load_settings()
    log = open_log(settings.log_url, settings.kafka_access)
    streams = (Stream.WAFER_MAPS, Stream.PREDICTIONS, Stream.ALERTS, Stream.ACTIONS)
    topics = [topic_name(settings.site, stream) for stream in streams]
    maps: set[str] = set()
    scored: dict[str, int] = {}
    alerts: dict[str, int] = {}
    doubled = 0
    actions: set[tuple[str, str]] = set()
    reader = log.reader(topics, "beginning")
    ends = log.ends(topics)
    while True:
        records = reader.poll(1000, 2.0)
        for record in records:
            event = decode(record.headers, record.value)
            if isinstance(event, WaferMap):
                maps.add(event.event_id)
            elif isinstance(event, Prediction):
                scored[event.input_id] = scored.get(event.input_id, 0) + 1
            elif isinstance(event, Alert):
                # Revisions count from 1, each once.
                doubled += event.revision <= alerts.get(event.alert_id, 0)
                alerts[event.alert_id] = max(event.revision, alerts.get(event.alert_id, 0))
            elif isinstance(event, Action):
                doubled += (event.action_id, event.status) in actions
                actions.add((event.action_id, event.status))
        done = reader.positions()
        if not records and all(done.get(place, 0) >= end for place, end in ends.items()):
            break
    letters = log.ends([topic_name(settings.site, Stream.DEAD_LETTERS)])
    json.dump(
        {
            "wafers": len(maps),
            "predicted": len(scored.keys() & maps),
            "missing": len(maps - scored.keys()),
            "predicted_twice": sum(count > 1 for count in scored.values()),
            "alerts": len(alerts),
            "alert_revisions": sum(alerts.values()),
            "actions": len(actions),
            "alerts_or_actions_twice": doubled,
            "dead_letters": sum(letters.values()),
        },
        sys.stdout,
    )
    print()
    reader.close()
    log.close()


main()
