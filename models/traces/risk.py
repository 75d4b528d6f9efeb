"""The task of defect risk: will this wafer fail, told before its test, learned as results come."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from contracts.arrays import Array
from contracts.errors import DatasetError, ModelFileError
from contracts.trace_model import REGISTERED_NAMES, TraceCard
from contracts.trace_risk import SHARED_SIGNALS, RiskState, means_of_run, read_risk
from contracts.trace_threads import EVERYTHING
from models.auc import area_under_curve
from models.traces.data import TraceSet
from models.traces.graph import Graph, model_file
from models.traces.risk_learner import Forecast, RiskLearner, Weights
from models.traces.task import TraceReport, TraceScorer, TrainedTraces

__all__ = ["RiskTask", "learner_of", "state_of"]

_GOLDEN_ROWS = 8
_PARITY = 1e-3

Floats = npt.NDArray[np.float64]


def state_of(learner: RiskLearner, last_order: float, threads: tuple[str, ...]) -> RiskState:
    """Where a learner stands, to be written down."""
    return RiskState(
        window=Array.of(learner.window.astype(np.float32)),
        sums=Array.of(learner.sums.astype(np.float32)),
        rate=Array.of(learner.rate.astype(np.float32)),
        remembered=Array.of(learner.remembered.astype(np.float32)),
        middle=Array.of(learner.middle.astype(np.float32)),
        spread=Array.of(learner.spread.astype(np.float32)),
        wafers=learner.wafers,
        since_refresh=learner.since_refresh,
        last_order=last_order,
        threads=threads,
    )


def learner_of(state: RiskState, signals: int) -> RiskLearner:
    """A learner that goes on from a state.

    Raises:
        ModelFileError: the state is not of so many signals.
    """
    learner = RiskLearner(signals)
    given = (state.sums.shape, state.rate.shape, state.middle.shape, state.spread.shape)
    widths = (state.window.shape[1:], state.remembered.shape[1:])
    if given != (learner.sums.shape, (2,), (signals,), (signals,)) or widths != (
        (signals,),
        (3,),
    ):
        raise ModelFileError("the model's state does not fit its signals")
    learner.window, learner.sums = _wide(state.window), _wide(state.sums)
    learner.rate, learner.remembered = _wide(state.rate), _wide(state.remembered)
    learner.middle, learner.spread = _wide(state.middle), _wide(state.spread)
    learner.wafers, learner.since_refresh = state.wafers, state.since_refresh
    return learner


@dataclass(frozen=True)
class _Told:
    """Forecasts of N wafers, in time, each made before its result was looked at."""

    probability: Floats
    evidence: Floats
    prior: Floats
    failed: Floats

    def report(self) -> TraceReport:
        judged = ~np.isnan(self.probability) & ~np.isnan(self.failed)
        failed = self.failed[judged] == 1.0
        if not failed.any() or failed.all():
            return TraceReport(task="risk", n=int(judged.sum()))
        auc = area_under_curve(self.probability[judged], failed)
        signals = area_under_curve(self.evidence[judged], failed)
        rate = area_under_curve(self.prior[judged], failed)
        return TraceReport(
            task="risk",
            n=int(judged.sum()),
            auc=auc.value,
            more={
                "auc_low": auc.low,
                "auc_high": auc.high,
                "failed": int(failed.sum()),
                "failures_expected": float(self.probability[judged].sum()),
                "not_judged": int((~judged).sum()),
                "auc_of_signals_alone": signals.value,
                "auc_of_signals_alone_low": signals.low,
                "auc_of_signals_alone_high": signals.high,
                "auc_of_recent_failures_alone": rate.value,
            },
        )


class RiskTask:
    """Failures at test, forecast from signals in time order."""

    def train(
        self,
        traces: TraceSet,
        *,
        seed: int,
        code_version: str,
        on_progress: Callable[[float], None],
    ) -> TrainedTraces:
        """Learn wafer by wafer; the report is of the forecasts on the way, after 100 wafers.

        Nothing is drawn, so the seed changes nothing.

        Raises:
            DatasetError: targets other than 0 and 1, or too few failures to say anything.
        """
        ordered = traces.in_time()
        signals = _signals(ordered, ordered.variables)
        failed = _failed(ordered)
        learner = RiskLearner(signals.shape[1])
        told = []
        for i, forecast in enumerate(_forecasts(learner, signals, failed)):
            told.append(forecast)
            on_progress(0.9 * (i + 1) / len(signals))
        if not learner.ready:
            raise DatasetError(
                f"{traces.name}: {learner.wafers} wafers with a result, {int(learner.sums[1, 0])}"
                " of them failed, are too few to learn from; at least 100 and 10 are needed"
            )
        report = _told(told, failed).report()
        state = state_of(learner, float(ordered.order[-1]), _threads(ordered))
        card = TraceCard(
            name=REGISTERED_NAMES["risk"],
            task="risk",
            architecture=f"{signals.shape[1]} signals against the last 200 wafers, shrunk diagonal"
            " discriminant, calibrated, learned on with every result",
            variables=traces.variables,
            data_name=traces.name,
            data_fingerprint=traces.fingerprint(),
            metrics=report.metrics(),
            code_version=code_version,
            golden_inputs={},
            golden_outputs={},
            detail=msgspec.Raw(msgspec.json.encode(state)),
        )
        weights = learner.weights()
        golden = told[-_GOLDEN_ROWS:]
        deviations = np.array([forecast.deviations for forecast in golden])
        prior = np.array([forecast.prior for forecast in golden])
        content, card = model_file(
            risk_graph(weights),
            card,
            {"deviations": deviations.astype(np.float32), "prior": prior.astype(np.float32)},
            _apply(weights, deviations, prior),
        )
        on_progress(1.0)
        params = {"wafers": learner.wafers, "signals_with_a_say": int((weights.signed != 0).sum())}
        return TrainedTraces(card, content, report, params)

    def evaluate(self, scorer: TraceScorer, traces: TraceSet) -> TraceReport:
        """Forecast each wafer of a set in time, and learn on with each result.

        Wafers later than those the model knows: it goes on from there, and only they are judged. A
        set without any: it is forecast from its beginning by a learner that knows nothing yet.

        Raises:
            DatasetError: the set lacks most of the signals, or its targets are not 0 and 1.
            ModelFileError: the file's graph and state contradict each other.
        """
        ordered = traces.in_time()
        names = scorer.card.variables
        state = read_risk(scorer.card)
        later = ordered.order > state.last_order
        if later.any():
            ordered = ordered.subset(later)
        signals, failed = _signals(ordered, names), _failed(ordered)
        if later.any():
            learner = learner_of(state, len(names))
            _check(scorer, learner.forecast(signals[0]))
        else:
            learner = RiskLearner(len(names))
        return _told(list(_forecasts(learner, signals, failed)), failed).report()


def risk_graph(weights: Weights) -> onnx.ModelProto:
    """`INPUTS` to `OUTPUTS`: the probability, and what each signal adds to its log-odds."""
    g = Graph()
    signed = g.constant(weights.slope * weights.signed)
    size = g.constant(weights.slope * weights.size)
    one_sided = g.add("Mul", "deviations", signed)
    two_sided = g.add("Mul", g.add("Abs", "deviations"), size)
    g.add("Add", one_sided, two_sided, output="contributions")
    offset = g.constant(weights.slope * weights.offset + weights.shift)
    known = g.add("Add", "prior", offset)
    log_odds = g.add("Add", g.sum_rows("contributions"), known)
    g.add("Sigmoid", log_odds, output="probability")
    v = len(weights.signed)
    return g.model({"deviations": v, "prior": None}, {"probability": None, "contributions": v})


def _apply(weights: Weights, deviations: Floats, prior: Floats) -> dict[str, Floats]:
    each = weights.slope * (deviations * weights.signed + np.abs(deviations) * weights.size)
    rest = weights.slope * weights.offset + weights.shift
    log_odds = np.clip(prior + rest + each.sum(axis=1), -15.0, 15.0)
    return {"probability": 1.0 / (1.0 + np.exp(-log_odds)), "contributions": each}


def _forecasts(learner: RiskLearner, signals: Floats, failed: Floats) -> Iterator[Forecast]:
    for row, result in zip(signals, failed, strict=True):
        forecast = learner.forecast(row)
        yield forecast
        learner.learn(row, forecast, float(result))


def _told(told: list[Forecast], failed: Floats) -> _Told:
    return _Told(
        probability=np.array([forecast.probability for forecast in told]),
        evidence=np.array([forecast.evidence for forecast in told]),
        prior=np.array([forecast.prior for forecast in told]),
        failed=failed,
    )


def _check(scorer: TraceScorer, forecast: Forecast) -> None:
    given = scorer.run(
        {
            "deviations": forecast.deviations[np.newaxis].astype(np.float32),
            "prior": np.array([forecast.prior], dtype=np.float32),
        }
    )["probability"]
    if not abs(float(given[0]) - forecast.probability) <= _PARITY:
        raise ModelFileError(
            f"the file's graph says {float(given[0]):.4f} of the next wafer, its state"
            f" {forecast.probability:.4f}; train it again"
        )


def _wide(array: Array) -> Floats:
    return array.numpy().astype(np.float64)


def _threads(traces: TraceSet) -> tuple[str, ...]:
    names = traces.context.get("thread")
    return (EVERYTHING,) if names is None else tuple(np.unique(names.astype(np.str_)).tolist())


def _signals(traces: TraceSet, names: tuple[str, ...]) -> Floats:
    """(N, V) of these signals, NaN where the set has none; of longer traces their mean.

    Raises:
        DatasetError: the set lacks most of them.
    """
    place = {name: column for column, name in enumerate(traces.variables)}
    shared = [name for name in names if name in place]
    if len(shared) < SHARED_SIGNALS * len(names):
        raise DatasetError(
            f"{traces.name} has {len(shared)} of the {len(names)} signals that are needed"
        )
    means = np.full((len(traces), len(traces.variables)), np.nan)
    for i, run in enumerate(traces.runs):
        means[i] = means_of_run(run.values)
    found = np.full((len(traces), len(names)), np.nan)
    for column, name in enumerate(names):
        if name in place:
            found[:, column] = means[:, place[name]]
    return found


def _failed(traces: TraceSet) -> Floats:
    known = traces.target[~np.isnan(traces.target)]
    if not len(known) or not np.all(np.isin(known, (0.0, 1.0))):
        raise DatasetError(
            f"{traces.name}: the target of a risk model is 1 for a wafer that failed and 0 for one"
            " that passed"
        )
    return traces.target
