"""Libraries that would report home, kept from it."""

import os

__all__ = ["SWITCHES", "keep_libraries_quiet"]

SWITCHES: dict[str, str] = {
    # ONNX Runtime, from 1.29 on also on Linux: names and hashes of models, machine and errors, to
    # Microsoft, beside an id of the machine and a database under ~/.cache. Read once, when it is
    # loaded; its own `disable_telemetry_events` comes after the first report.
    "ORT_DISABLE_TELEMETRY": "1",
    # MLflow: which functions are called, and a look at what to report, at its own servers.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Hugging Face's hub, which timm brings: what asks for models; and it is asked for none.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    # https://consoledonottrack.com, for whatever comes next; MLflow knows no other value.
    "DO_NOT_TRACK": "true",
}
"""What each library reads, and what it takes for no."""


def keep_libraries_quiet() -> None:
    """Set every switch that is not set already, for this process and those it starts.

    Libraries read them once, so call it before any of them is imported.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
