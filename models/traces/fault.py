"""The task of fault detection: learned from normal runs, judged on runs whose faults are known."""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from contracts.trace_fault import INPUT, FaultDetail, variable_names
from contracts.trace_model import REGISTERED_NAMES, TraceCard
from models.traces.data import TraceSet
from models.traces.fault_detector import graph_of
from models.traces.fault_model import (
    FEWEST_RUNS,
    FaultModel,
    detail_of,
    deviations_of,
    fit_fault_model,
    matching_of,
)
from models.traces.fault_report import NORMAL, report_faults
from models.traces.graph import model_file
from models.traces.task import TraceReport, TraceScorer, TrainedTraces

__all__ = ["FaultTask"]

_GOLDEN_ROWS = 8
# Share of the normal runs, the earliest, that the model of the training report learns from.
_EARLIER = 2 / 3


class FaultTask:
    """Faults of runs, found without having seen one."""

    def train(
        self,
        traces: TraceSet,
        *,
        seed: int,
        code_version: str,
        on_progress: Callable[[float], None],
    ) -> TrainedTraces:
        """Learn from the normal runs of a set; runs without a label count as normal.

        The report is of a model of the earlier two thirds of them, on the rest and on the faults.
        Nothing is drawn, so the seed changes nothing.

        Raises:
            DatasetError: fewer than 15 normal runs, or no recipe step in common.
        """
        ordered = traces.in_time()
        normal = np.array([label in (None, NORMAL) for label in ordered.fault], dtype=bool)
        model = fit_fault_model(ordered.subset(normal))
        on_progress(0.5)
        report = _held_out(ordered, normal)
        on_progress(0.8)
        card = TraceCard(
            name=REGISTERED_NAMES["fault"],
            task="fault",
            architecture=f"tool matching, T2 and SPE of {model.deviations.shape[1]} step features,"
            f" {model.detector.monitor.directions.shape[1]} components",
            variables=traces.variables,
            data_name=traces.name,
            data_fingerprint=traces.fingerprint(),
            metrics=report.metrics(),
            code_version=code_version,
            golden_inputs={},
            golden_outputs={},
            detail=msgspec.Raw(msgspec.json.encode(detail_of(model))),
        )
        rows = model.deviations[:_GOLDEN_ROWS].astype(np.float32)
        content, card = model_file(
            graph_of(model.detector),
            card,
            {INPUT: rows},
            model.detector.apply(rows.astype(np.float64)),
        )
        on_progress(1.0)
        return TrainedTraces(
            card,
            content,
            report,
            {
                "normal_runs": int(normal.sum()),
                "features": model.deviations.shape[1],
                "components": model.detector.monitor.directions.shape[1],
            },
        )

    def evaluate(self, scorer: TraceScorer, traces: TraceSet) -> TraceReport:
        """Judge a model on the labelled runs that it did not learn from.

        Each run is compared with earlier runs of its own module alone: those of the set, whether
        the model learned from them or not, and whatever their label says. A module's first run is
        not judged, nor one of which too little is left.

        Raises:
            DatasetError: no labelled run to judge by, or variables are missing.
        """
        detail = FaultDetail.read(scorer.card.detail)
        found = deviations_of(traces, detail.layout, matching_of(detail), detail.learned)
        labelled = np.array([label is not None for label in traces.fault], dtype=bool)
        rows = np.flatnonzero(found.judged & labelled & ~found.learned)
        if not len(rows):
            raise DatasetError(
                f"{traces.name}, part {traces.part}: no labelled run that the model has not learned"
                " from; name another part"
            )
        outputs = scorer.run({INPUT: found.values[rows].astype(np.float32)})
        return report_faults(
            {name: np.asarray(values, dtype=np.float64) for name, values in outputs.items()},
            _labels(traces, rows),
            variable_names(detail.layout),
            {
                "learned_from": int(found.learned.sum()),
                "not_judged": int((labelled & ~found.learned & ~found.judged).sum()),
                "runs_with_sensor_trouble": int(sum(bool(found.troubles[i]) for i in rows)),
            },
        )


def _held_out(traces: TraceSet, normal: npt.NDArray[np.bool_]) -> TraceReport:
    """A model of the earlier normal runs, on the later ones and on all faults."""
    rows = np.flatnonzero(normal)
    earlier = rows[: int(_EARLIER * len(rows))]
    if len(earlier) < FEWEST_RUNS:
        return TraceReport(task="fault", n=0)
    model: FaultModel = fit_fault_model(traces.subset(earlier))
    found = deviations_of(traces, model.layout, model.matching, model.learned)
    judged = np.flatnonzero(found.judged & ~found.learned)
    outputs = model.detector.apply(found.values[judged])
    names = variable_names(model.layout)
    return report_faults(outputs, _labels(traces, judged), names, {})


def _labels(traces: TraceSet, rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(traces.fault[i] or NORMAL for i in rows)
