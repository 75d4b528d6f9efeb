"""Registers a model file that was made elsewhere, for who has no torch here: `register.py FILE`."""

import json
import sys
from pathlib import Path

from fabpilot.settings import load_settings
from fabpilot.wiring import MODEL_NAME
from models.registry import RunRecord, log_and_register


def main() -> None:
    """Register it and print what it became as one JSON object."""
    file = Path(sys.argv[1])
    record = RunRecord(params={"file": file.name})
    made = log_and_register(load_settings().mlflow_uri, MODEL_NAME, MODEL_NAME, file, record)
    said = {"model": f"models:/{made.name}/{made.version}", "aliases": list(made.aliases)}
    print(json.dumps(said | {"sha256": made.sha256}))


if __name__ == "__main__":
    main()
