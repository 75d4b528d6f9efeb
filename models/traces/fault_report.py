"""How good fault detection is on runs whose faults are known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.auc import area_under_curve, limit_for_false_alarms
from models.traces.fault_names import Changed, changed_by
from models.traces.task import TraceReport

__all__ = ["NORMAL", "report_faults"]

NORMAL = "normal"
_FALSE_ALARMS = 0.01
_TOP = 3
# Scores are in units of the model's own limit.
_OWN_LIMIT = 1.0
_DETECTORS = ("score", "t2", "spe", "largest", "nearest")

Floats = npt.NDArray[np.float64]


def report_faults(
    outputs: Mapping[str, Floats],
    labels: tuple[str, ...],
    variables: tuple[str, ...],
    more: Mapping[str, Any],
) -> TraceReport:
    """Judge what a detector said of N runs.

    Args:
        outputs: of `fault_detector`, in the order of the labels.
        labels: 'normal' or the fault, N.
        variables: V names of the contributions.
        more: what else to report.
    """
    faulty = np.array([label != NORMAL for label in labels], dtype=bool)
    score = outputs["score"].astype(np.float64)
    facts: dict[str, Any] = {
        "normal": int((~faulty).sum()),
        "faults": int(faulty.sum()),
        **more,
        "false_alarms_at_own_limit": _share(score[~faulty] > _OWN_LIMIT),
        "detected_at_own_limit": _share(score[faulty] > _OWN_LIMIT),
    }
    if not faulty.any() or faulty.all():
        return TraceReport(task="fault", n=len(labels), more=_known(facts))
    auc = area_under_curve(score, faulty)
    caught = faulty & (score > limit_for_false_alarms(score[~faulty], _FALSE_ALARMS))
    hits = _Hits(outputs["contributions"], labels, variables)
    facts |= {
        "auc_low": auc.low,
        "auc_high": auc.high,
        "top3_own_sensor_hit": hits.share(caught, own=True),
        "top3_by_chance": hits.chance(caught),
        "missed": [labels[i] for i in np.flatnonzero(faulty & ~caught)],
        "auc_of_detectors": {
            name: area_under_curve(outputs[name].astype(np.float64), faulty).value
            for name in _DETECTORS
        },
    }
    return TraceReport(
        task="fault",
        n=len(labels),
        auc=auc.value,
        detected_at_1pct_false_alarms=float(caught.sum() / faulty.sum()),
        top3_contribution_hit=hits.share(caught, own=False),
        more=_known(facts),
    )


class _Hits:
    """Whether the changed variable is among the first three contributions."""

    def __init__(self, contributions: Floats, labels: tuple[str, ...], variables: tuple[str, ...]):
        self._first = [
            {variables[v] for v in np.argsort(-row)[:_TOP]} for row in np.asarray(contributions)
        ]
        self._changed = [changed_by(label, variables) for label in labels]
        self._variables = len(variables)

    def share(self, runs: npt.NDArray[np.bool_], *, own: bool) -> float | None:
        """Of the runs whose changed variable is known; `own`: by its own sensors alone."""
        hits = [
            bool(self._first[i] & (frozenset(changed.read_by) if own else changed.names))
            for i, changed in self._known(runs)
        ]
        return float(np.mean(hits)) if hits else None

    def chance(self, runs: npt.NDArray[np.bool_]) -> float | None:
        """What three variables drawn at random would hit."""
        shares = []
        for _, changed in self._known(runs):
            others = self._variables - len(changed.names)
            missed = np.prod([(others - k) / (self._variables - k) for k in range(_TOP)])
            shares.append(1.0 - float(missed))
        return float(np.mean(shares)) if shares else None

    def _known(self, runs: npt.NDArray[np.bool_]) -> list[tuple[int, Changed]]:
        pairs = [(int(i), self._changed[int(i)]) for i in np.flatnonzero(runs)]
        return [(i, changed) for i, changed in pairs if changed is not None]


def _share(found: npt.NDArray[np.bool_]) -> float | None:
    return float(found.mean()) if len(found) else None


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
