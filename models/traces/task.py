"""What a task of trace models is: how it is trained, and how a trained one is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.trace_model import TraceCard
from models.traces.data import TraceSet

__all__ = ["TraceReport", "TraceScorer", "TraceTask", "TrainedTraces"]

FloatArray = npt.NDArray[np.float32]


class TraceReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How good a trace model is; fields that do not apply to its task are left out.

    Attributes:
        n: runs it was judged on.
        rmse: root mean squared error, in the target's unit.
        mse: its square.
        coverage90: share of runs whose measured value lay inside the 90 % interval.
        auc: area under the ROC curve.
        detected_at_1pct_false_alarms: share of the faults found at a limit that one normal run in
            a hundred exceeds.
        top3_contribution_hit: share of the faults found whose changed variable is among the first
            three contributions.
        seen_in_training: these very runs were trained on, so the figures flatter.
        more: anything else the task measures.
    """

    task: str
    n: int
    rmse: float | None = None
    mse: float | None = None
    coverage90: float | None = None
    auc: float | None = None
    detected_at_1pct_false_alarms: float | None = None
    top3_contribution_hit: float | None = None
    seen_in_training: bool | None = None
    more: dict[str, Any] = {}

    def metrics(self) -> dict[str, float]:
        """All plain numbers by name, those in `more` too."""
        plain = msgspec.structs.asdict(self)
        plain |= plain.pop("more")
        return {
            name: float(value)
            for name, value in plain.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }


@dataclass(frozen=True)
class TrainedTraces:
    """A finished model.

    Attributes:
        card: what its file says about itself.
        content: the ONNX file, with the card in its metadata.
        report: how good it was on runs of the training part that it had not seen (time-ordered or
            grouped folds).
        params: options and facts for the run's record.
    """

    card: TraceCard
    content: bytes
    report: TraceReport
    params: Mapping[str, Any] = field(default_factory=dict)


class TraceScorer(Protocol):
    """A model that runs; `serving.trace_session.TraceSession` is one."""

    card: TraceCard

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Outputs by name, (N, ...), for inputs by name, (N, ...)."""
        ...


class TraceTask(Protocol):
    """One task; the registry of them is `models.traces.tasks`."""

    def train(
        self,
        traces: TraceSet,
        *,
        seed: int,
        code_version: str,
        on_progress: Callable[[float], None],
    ) -> TrainedTraces:
        """Learn from all runs of a set.

        Args:
            traces: the part to learn from.
            seed: of whatever is drawn.
            code_version: of fabpilot, for the card.
            on_progress: called with the share that is done, 0 to 1.

        Raises:
            DatasetError: the set does not have what the task needs.
        """
        ...

    def evaluate(self, scorer: TraceScorer, traces: TraceSet) -> TraceReport:
        """Judge a trained model, causally: what it says of a run uses nothing later than it.

        Raises:
            DatasetError: the set does not fit the model, or has nothing to judge by.
        """
        ...
