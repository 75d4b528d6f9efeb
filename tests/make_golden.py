"""Write golden files for event types that have none yet. Existing ones are never touched."""

import json
from pathlib import Path

from contracts.codec import encode
from tests.factories import (
    alert_with_causes,
    novel_prediction,
    registered_virtual_metrology,
    sample_events,
    trace_with_recipe_steps,
    trace_with_times,
)

FOLDER = Path(__file__).parent / "golden"

if __name__ == "__main__":
    for ce_type, event in sample_events().items():
        path = FOLDER / f"{ce_type}.msgpack"
        if not path.exists():
            message = encode(event)
            path.write_bytes(message.value)
            headers = {name: value.decode() for name, value in message.headers}
            (FOLDER / f"{ce_type}.headers.json").write_text(json.dumps(headers, indent=2) + "\n")
            print(path.name)
    # Optional fields that came later have a file of their own.
    for name, event in (
        ("fabpilot.trace.v1.times.msgpack", trace_with_times()),
        ("fabpilot.trace.v1.recipe_steps.msgpack", trace_with_recipe_steps()),
        ("fabpilot.prediction.v1.novelty.msgpack", novel_prediction()),
        ("fabpilot.alert.v1.causes.msgpack", alert_with_causes()),
        ("fabpilot.virtual_metrology.v1.model.msgpack", registered_virtual_metrology()),
    ):
        path = FOLDER / name
        if not path.exists():
            path.write_bytes(encode(event).value)
            print(name)
