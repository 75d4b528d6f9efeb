"""Virtual metrology: what a run will measure, from its traces, with an interval that holds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from contracts.arrays import Array
from contracts.errors import DatasetError, ModelFileError
from contracts.late_correction import LateCorrection
from contracts.trace_features import feature_names, trace_features
from contracts.trace_metrology import (
    ALL_KNOWN,
    INPUT_NAMES,
    OUTPUT_NAMES,
    MetrologyDetail,
    ThreadDetail,
    decode_detail,
    features_of_run,
)
from contracts.trace_model import METADATA_KEY, REGISTERED_NAMES, TraceCard, encode_trace_card
from models.traces.data import TraceSet
from models.traces.metrology_graph import metrology_graph
from models.traces.metrology_report import (
    Predictions,
    corrected_late,
    losses_of,
    report_of,
)
from models.traces.spec import learn_spec
from models.traces.task import TraceReport, TraceScorer, TrainedTraces
from models.traces.thread_model import ThreadModel, fit_thread, refit

__all__ = ["MetrologyTask", "inputs_of", "threads_of"]

FloatArray = npt.NDArray[np.float64]

# Fewer measured runs than this tell nothing about a thread.
_FEWEST = 20
# A target so many robust standard deviations off is a mistake of the metrology, not the process:
# 4 of 1,981 in PHM 2016, at thirty times the median.
_OUTLIER = 10.0
_GOLDEN = 8
# float32 against float64, relative to the half-width of the interval.
_PARITY = 0.01
_BATCH = 64
_FORWARD_SHARE, _FORWARD_FEWEST = 0.7, 60


class MetrologyTask:
    """Trains and judges models of virtual metrology."""

    def train(
        self,
        traces: TraceSet,
        *,
        seed: int,
        code_version: str,
        on_progress: Callable[[float], None],
    ) -> TrainedTraces:
        """Learn the runs that were measured; nothing is drawn, so `seed` changes nothing.

        Raises:
            DatasetError: no thread has 20 measured runs.
            ModelFileError: ONNX Runtime and this code disagree about the model.
        """
        fingerprint = traces.fingerprint()
        traces = traces.in_time()
        names = threads_of(traces)
        measured = np.isfinite(traces.target)
        counted = {str(name): int(measured[names == name].sum()) for name in np.unique(names)}
        learned = sorted(
            (name for name, count in counted.items() if count >= _FEWEST),
            key=lambda name: -counted[name],
        )
        if not learned:
            raise DatasetError(
                f"{traces.name}: no thread has {_FEWEST} measured runs (they have {counted});"
                " give more runs with a target, or fewer threads"
            )
        origin = float(traces.order.min())
        threads: list[_Learned] = []
        for place, name in enumerate(learned):

            def done(share: float, place: int = place) -> None:
                on_progress((place + 0.9 * share) / len(learned))

            rows = np.flatnonzero((names == name) & measured)
            threads.append(_learn(traces, rows, name, origin, done))
            on_progress((place + 1) / len(learned))
        models = [thread.model for thread in threads]
        more: dict[str, Any] = {"outliers_left_out": sum(thread.outliers for thread in threads)}
        forward = [thread.forward for thread in threads if thread.forward is not None]
        if forward:
            later = _joined(forward)
            told = corrected_late(later)
            more["forward_rmse"] = _rmse(later)
            more["forward_rmse_late"] = _rmse(told)
            more["forward_coverage90_late"] = _coverage(told)
        report = report_of(_joined([thread.said for thread in threads]), more)
        whole = MetrologyDetail(
            threads=tuple(thread.detail for thread in threads),
            unit=traces.target_unit,
            origin_s=origin,
            parameter=_parameter(traces),
        )
        card = _card(traces, whole, models, report, code_version, fingerprint)
        model = metrology_graph(models)
        model.metadata_props.add(key=METADATA_KEY, value=encode_trace_card(card))
        content: bytes = model.SerializeToString()
        _check_parity(content, card)
        return TrainedTraces(card, content, report, {"threads": len(learned)})

    def evaluate(self, scorer: TraceScorer, traces: TraceSet) -> TraceReport:
        """Judge a model on runs that were measured.

        As in `report_of`; in `more` also with no measurement of any run that ended after the run
        began (`..._past_only`), not even of those it was trained on.

        Raises:
            DatasetError: other variables than the model's, or nothing was measured.
        """
        detail = decode_detail(scorer.card)
        measured = np.flatnonzero(np.isfinite(traces.target))
        if not len(measured):
            raise DatasetError(f"{traces.name}: no run has a measured value to judge by")
        traces = traces.subset(measured).in_time()
        inputs = inputs_of(scorer.card, detail, traces)
        outputs = _in_batches(scorer, inputs)
        names = threads_of(traces)
        said = Predictions(
            outputs["predicted"].astype(np.float64),
            outputs["half_width"].astype(np.float64),
            traces.target,
            traces.order,
            names,
            traces.group,
        )
        begins = (traces.context.get("start_s", traces.order) - detail.origin_s).astype(np.float32)
        # The next smaller number: rounding must not let in a run that ended a moment later.
        inputs["known_until"] = np.nextafter(begins, np.float32(-np.inf))[:, None]
        past = _in_batches(scorer, inputs)
        only = Predictions(
            past["predicted"].astype(np.float64),
            past["half_width"].astype(np.float64),
            traces.target,
            traces.order,
            names,
            traces.group,
        )
        begin = {t.name: LateCorrection(losses=t.losses) for t in detail.threads}
        known = [detail.threads[int(i)] for i in inputs["thread"][:, 0]]
        reach = np.array([t.reach for t in known])
        far = np.abs(traces.target - np.array([t.middle for t in known])) > reach
        told = corrected_late(only, begin)
        more: dict[str, Any] = {
            "unlike": int((outputs["novelty"] > 1).sum()),
            "unknown_thread": int(sum(detail.index(str(name)) is None for name in names)),
            "rmse_past_only": _rmse(only),
            "coverage90_past_only": _coverage(only),
            "rmse_past_only_late": _rmse(told),
        }
        if far.any():
            near = ~far
            more["outliers"] = int(far.sum())
            more["rmse_without_outliers"] = float(
                np.sqrt(np.mean((said.predicted - said.target)[near] ** 2))
            )
        return report_of(said, more, begin)


def threads_of(traces: TraceSet) -> npt.NDArray[np.str_]:
    """(N,) the thread of each run: the context column `thread`, or one for all."""
    if "thread" in traces.context:
        return traces.context["thread"].astype(np.str_)
    return np.full(len(traces), "all")


def _parameter(traces: TraceSet) -> str:
    """What was measured: the context column `parameter`, or ''.

    Raises:
        DatasetError: different things were.
    """
    names = np.unique(traces.context.get("parameter", np.array([""])).astype(np.str_))
    if len(names) > 1:
        raise DatasetError(
            f"{traces.name} has targets of {', '.join(names)}; one model foretells one parameter:"
            " write a file for each"
        )
    return str(names[0])


def inputs_of(
    card: TraceCard, detail: MetrologyDetail, traces: TraceSet
) -> dict[str, npt.NDArray[np.float32]]:
    """The graph's inputs for N runs, every measurement known; an unknown thread is the first's.

    Raises:
        DatasetError: a variable of the model is missing.
    """
    if missing := [name for name in card.variables if name not in traces.variables]:
        raise DatasetError(
            f"{traces.name} lacks {', '.join(missing)}, on which the model was trained; it has"
            f" {', '.join(traces.variables)}"
        )
    columns = [traces.variables.index(name) for name in card.variables]
    index = [detail.index(str(name)) or 0 for name in threads_of(traces)]
    rows = [
        features_of_run(detail, i, run.values[:, columns], run.times_s, run.step)
        for i, run in zip(index, traces.runs, strict=True)
    ]
    return {
        "features": np.stack(rows),
        "thread": np.array(index, dtype=np.float32)[:, None],
        "known_until": np.full((len(index), 1), ALL_KNOWN, dtype=np.float32),
    }


class _Learned(NamedTuple):
    """One thread after training.

    Attributes:
        said: predictions of its runs, each by a model that had not seen the run's group.
        forward: predictions of its later runs by a model of the earlier ones; None for few runs.
        outliers: measured runs left out, because their target cannot be true.
    """

    model: ThreadModel
    detail: ThreadDetail
    said: Predictions
    forward: Predictions | None
    outliers: int


def _learn(
    traces: TraceSet,
    measured: npt.NDArray[np.int64],
    name: str,
    origin_s: float,
    on_progress: Callable[[float], None],
) -> _Learned:
    """Train the model of the thread `name`, whose measured runs are these rows, in time."""
    detail, rows, x = _prepared(traces, measured, name)
    order, counters = traces.order[rows] - origin_s, len(detail.spec.counters)
    target, group = traces.target[rows], traces.group[rows]
    model, predicted, half = fit_thread(x, target, group, order, counters, on_progress)
    said = Predictions(predicted, half, target, order, np.full(len(rows), name), group)
    return _Learned(
        model=model,
        detail=msgspec.structs.replace(detail, losses=losses_of(said)),
        said=said,
        forward=_forward(model, x, said, counters) if len(rows) >= _FORWARD_FEWEST else None,
        outliers=len(measured) - len(rows),
    )


def _prepared(
    traces: TraceSet, rows: npt.NDArray[np.int64], name: str
) -> tuple[ThreadDetail, npt.NDArray[np.int64], FloatArray]:
    """A thread's detail, its rows without outliers, and their features."""
    target = traces.target[rows]
    middle = float(np.median(target))
    # 1.4826 makes the median deviation that of a normal distribution's standard deviation.
    reach = _OUTLIER * 1.4826 * float(np.median(np.abs(target - middle))) or np.inf
    rows = rows[np.abs(target - middle) <= reach]
    spec = learn_spec([traces.runs[row] for row in rows], traces.variables)
    x = np.stack(
        [trace_features(spec, r.values, r.times_s, r.step) for r in (traces.runs[i] for i in rows)]
    ).astype(np.float64)
    detail = ThreadDetail(
        name=name,
        spec=spec,
        learned=len(rows),
        middle=middle,
        reach=min(reach, ALL_KNOWN),
        losses=(),
    )
    return detail, rows, x


def _forward(model: ThreadModel, x: FloatArray, said: Predictions, counters: int) -> Predictions:
    """What the earlier 70 % of a thread's runs foretell of the later 30 %, rows in time."""
    cut = int(_FORWARD_SHARE * len(x))
    early, late = slice(0, cut), slice(cut, None)
    part = refit(model, x[early], said.target[early], said.order[early], counters)
    predicted, half = part.predict(x[late])
    return Predictions(
        predicted,
        half,
        said.target[late],
        said.order[late],
        said.thread[late],
        said.group[late],
    )


def _card(
    traces: TraceSet,
    detail: MetrologyDetail,
    models: list[ThreadModel],
    report: TraceReport,
    code_version: str,
    fingerprint: str,
) -> TraceCard:
    names = threads_of(traces)
    shown = np.flatnonzero([detail.index(str(name)) is not None for name in names])
    some = traces.subset(shown[np.unique(np.linspace(0, len(shown) - 1, _GOLDEN).astype(int))])
    blends = ", ".join(
        f"{thread.name}: process {model.weight:g} over {len(model.counters)} counters and"
        f" {len(model.signals)} of {len(feature_names(thread.spec))} features"
        for thread, model in zip(detail.threads, models, strict=True)
    )
    card = TraceCard(
        name=REGISTERED_NAMES["metrology"],
        task="metrology",
        architecture=f"Gaussian process and ridge; {blends}",
        variables=traces.variables,
        data_name=traces.name,
        data_fingerprint=fingerprint,
        metrics=report.metrics(),
        code_version=code_version,
        golden_inputs={},
        golden_outputs={},
        detail=msgspec.Raw(msgspec.json.encode(detail)),
    )
    inputs = inputs_of(card, detail, some)
    outputs = _by_threads(models, inputs)
    return msgspec.structs.replace(
        card,
        golden_inputs={name: Array.of(inputs[name]) for name in INPUT_NAMES},
        golden_outputs={name: Array.of(outputs[name].astype(np.float32)) for name in OUTPUT_NAMES},
    )


def _by_threads(
    models: list[ThreadModel], inputs: dict[str, npt.NDArray[np.float32]]
) -> dict[str, FloatArray]:
    """What the models say in float64, to hold the graph against."""
    found = {name: np.zeros(len(inputs["thread"])) for name in OUTPUT_NAMES}
    for index, model in enumerate(models):
        rows = np.flatnonzero(inputs["thread"][:, 0] == index)
        x = inputs["features"][rows, : len(model.standard.mean)].astype(np.float64)
        predicted, half = model.predict(x, inputs["known_until"][rows, 0].astype(np.float64))
        for name, values in zip(OUTPUT_NAMES, (predicted, half, model.novelty(x)), strict=True):
            found[name][rows] = values
    return found


def _check_parity(content: bytes, card: TraceCard) -> None:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = session.run(
        list(OUTPUT_NAMES), {name: array.numpy() for name, array in card.golden_inputs.items()}
    )
    half = card.golden_outputs["half_width"].numpy()
    for name, got in zip(OUTPUT_NAMES, given, strict=True):
        apart = np.abs(got - card.golden_outputs[name].numpy())
        worst = float(np.max(apart / (half if name != "novelty" else 1.0)))
        # A NaN compares false with everything; ask for what must hold.
        if not worst <= _PARITY:
            raise ModelFileError(
                f"the exported graph differs from the model in {name} by {worst:.2g} of its"
                f" interval (at most {_PARITY:g} is allowed); please report it"
            )


def _in_batches(
    scorer: TraceScorer, inputs: dict[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.float32]]:
    count = len(inputs["thread"])
    parts = [
        scorer.run({name: array[a : a + _BATCH] for name, array in inputs.items()})
        for a in range(0, count, _BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUT_NAMES}


def _joined(parts: list[Predictions]) -> Predictions:
    return Predictions(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("predicted", "half_width", "target", "order", "thread", "group")
        )
    )


def _rmse(said: Predictions) -> float:
    return float(np.sqrt(np.mean((said.predicted - said.target) ** 2)))


def _coverage(said: Predictions) -> float:
    return float(np.mean(np.abs(said.predicted - said.target) <= said.half_width))
