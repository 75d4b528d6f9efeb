"""Traces in, what a model says of them out: what the processor calls for each batch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from contracts.errors import DataError, ModelFileError
from contracts.events import Event, Trace
from contracts.trace_model import Task
from serving.device import Device
from serving.fault_judge import FaultJudge
from serving.metrology_judge import MetrologyJudge
from serving.repository import Loaded, ModelRepository, Opener
from serving.risk_judge import RiskJudge
from serving.trace_judge import Judge, Speaker
from serving.trace_session import TraceSession, open_trace_session

__all__ = ["LiveTraces", "TraceScorer", "trace_opener"]

# Steps of a route that are said to have no model; more than any route has.
_MOST_SAID = 500

_log = structlog.get_logger(__name__)


class LiveTraces:
    """A trace model that was opened to judge what is on the log.

    Attributes:
        sha256: digest of the file.
        provider: the ONNX Runtime provider that really runs it.
        judge: what it says of traces.
    """

    def __init__(self, session: TraceSession, judge: Judge) -> None:
        self.sha256 = session.sha256
        self.provider = session.provider
        self.judge = judge

    @property
    def answers(self) -> tuple[str, ...]:
        """What it can say."""
        return self.judge.answers


def trace_opener(task: Task) -> Opener[LiveTraces]:
    """What opens the files of one task, and refuses those of any other."""

    def open_live(
        path: Path, device: Device, *, threads: int = 0, sha256: str | None = None
    ) -> LiveTraces:
        session = open_trace_session(path, device, threads=threads, sha256=sha256)
        if session.card.task != task:
            raise ModelFileError(
                f"{path.name} is a model of {session.card.task}, this processor serves {task};"
                " start another one for it"
            )
        return LiveTraces(session, _JUDGES[task](session))

    return open_live


_JUDGES: dict[Task, Callable[[TraceSession], Judge]] = {
    "metrology": MetrologyJudge,
    "fault": FaultJudge,
    "risk": RiskJudge,
}


class TraceScorer:
    """Judges batches of events with the model that serves at that moment.

    May be called by several threads at once, as `serving.scorer.Scorer`.

    Args:
        repository: gives the model.
    """

    def __init__(self, repository: ModelRepository[LiveTraces]) -> None:
        self._repository = repository
        self._said: set[tuple[str, str]] = set()

    def __call__(self, events: Sequence[Event]) -> list[list[Event] | DataError]:
        """Per event what the model says of it, or why it is of no use.

        Events that are no traces, and traces of a recipe and step that the model was not learned
        on, give nothing.

        Raises:
            ModelError: no model serves.
        """
        loaded = self._repository.current()
        traces = [event for event in events if isinstance(event, Trace)]
        answers = iter(loaded.session.judge.judge(traces, _speaker(loaded)))
        results: list[list[Event] | DataError] = []
        for event in events:
            if not isinstance(event, Trace):
                results.append([])
                continue
            answer = next(answers)
            if answer == []:
                self._passed(event, loaded)
            results.append(answer)
        return results

    def _passed(self, trace: Trace, loaded: Loaded[LiveTraces]) -> None:
        """Say once of a step that it has no model: its name may have been misspelt."""
        step = (trace.recipe_id, trace.step)
        if step in self._said or len(self._said) >= _MOST_SAID:
            return
        self._said.add(step)
        _log.info(
            "traces of this step are none that the model judges",
            recipe=trace.recipe_id,
            step=trace.step,
            model=loaded.ref.name,
            answers=loaded.session.answers,
        )


def _speaker(loaded: Loaded[LiveTraces]) -> Speaker:
    session = loaded.session
    return Speaker(loaded.ref.name, loaded.ref.version, session.sha256, session.provider)
