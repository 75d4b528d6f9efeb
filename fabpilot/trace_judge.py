"""How good a trace model is on a set of traces, through the runtime that serves it."""

from pathlib import Path
from typing import Any

import msgspec

from fabpilot.settings import Settings
from models.traces.layouts import load_traces
from models.traces.tasks import task_named
from serving.trace_session import open_trace_session

__all__ = ["judge_traces"]


def judge_traces(settings: Settings, file: Path, data: Path, part: str) -> dict[str, Any]:
    """The report of a model on a part of a set, as plain values.

    Args:
        settings: the device.
        file: the model's ONNX file.
        data: a folder or file of traces.
        part: of the set, or 'all'.

    Raises:
        ModelFileError: the file is no trace model.
        DatasetError: the set cannot be read, or does not fit the model.
    """
    session = open_trace_session(file, settings.device, threads=settings.threads)
    traces = load_traces(data, part)
    judged = task_named(session.card.task).evaluate(session, traces)
    seen = traces.fingerprint() == session.card.data_fingerprint
    plain: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(judged, seen_in_training=True if seen else None)
    )
    plain |= {"data": traces.name, "part": traces.part}
    return plain | {"provider": session.provider, "model_sha256": session.sha256}
