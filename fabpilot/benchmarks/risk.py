"""Does the risk told before electrical test come true? The engine on the fab, against the truth."""

import random
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from contracts.events import Prediction, Risk, WaferMap
from contracts.ids import derived_id
from contracts.topics import Stream
from contracts.wafer_map import PATTERNS
from control.engine import Engine
from control.policy import Policy
from fab_sim import Fab, Scenario

__all__ = ["RiskRun", "RiskScores", "measure_risk", "score_risks"]

SITE = "kr1"
_START_MS = 1_767_225_600_000
# Share of the test results that the labelling model gets wrong, as in the controller's tests.
_WRONG = 0.03
_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
_HOUR_MS = 3_600_000.0

Floats = npt.NDArray[np.float64]


class RiskBin(msgspec.Struct, frozen=True, kw_only=True):
    """Wafers whose risk was between `low` and `high`: what was foreseen, and how many were bad."""

    low: float
    high: float
    wafers: int
    foreseen: float
    bad: float


class RiskScores(msgspec.Struct, frozen=True, kw_only=True):
    """How well the last risk before the test foretells it.

    Attributes:
        wafers: tested; `bad` of them truly show a pattern.
        brier: mean squared error of the risk; `brier_base` of the share of bad wafers (which
            nobody knows beforehand), `skill` is 1 - brier / brier_base.
        auc: that a bad wafer's risk is above a good one's; None where all are alike.
        calibration_error: mean distance of foreseen and seen shares over the bins, by wafers.
        caught: bad wafers whose risk was at least a half; `false` good ones.
        named: of the caught, those whose most probable pattern is a true one; None if not asked.
        lead_h: median hours between the first risk of a half and the test, of the caught.
        bins: the reliability diagram.
    """

    wafers: int
    bad: int
    brier: float
    brier_base: float
    skill: float | None
    auc: float | None
    calibration_error: float
    caught: int
    false: int
    named: int | None
    lead_h: float | None
    bins: list[RiskBin]


class RiskRun(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario and seed.

    Attributes:
        bad_by_excursion: bad wafers that an excursion spoilt; the others had one-off mishaps that
            no sensor shows.
        risk_events: told, for all wafers together.
        untold: tested wafers without a risk before.
        state_bytes: of the largest snapshot seen.
    """

    scenario: str
    seed: int
    scores: RiskScores
    bad_by_excursion: int
    risk_events: int
    untold: int
    state_bytes: int


class _Last(msgspec.Struct):
    risk: Risk
    first_half_ms: int = -1


def measure_risk(
    scenario: Scenario,
    *,
    seed: int,
    policy: Policy,
    on_progress: Callable[[int], None],
) -> tuple[RiskRun, Floats, Floats]:
    """Run a fab that nobody steers to its end with the engine beside it.

    Args:
        scenario: with a `total` of lots.
        seed: of the fab, and of the 3 % of test results that the engine is told wrong.
        policy: the engine's.
        on_progress: called with the number of tested wafers.

    Returns:
        The report, and for each tested wafer its last risk and whether it was truly bad.
    """
    streams = {Stream.PROCESS, Stream.EQUIPMENT, Stream.TRACES, Stream.WAFER_MAPS, Stream.METROLOGY}
    fab = Fab(scenario, site=SITE, seed=seed, start_ms=_START_MS, streams=frozenset(streams))
    engine, chance = Engine(policy, SITE), random.Random(seed)
    last: dict[str, _Last] = {}
    rows: list[tuple[float, bool, bool, float]] = []
    told = untold = largest = shown = 0
    while not fab.finished:
        for event in fab.step():
            heard = event
            if isinstance(event, WaferMap):
                true = {name for name in fab.true_patterns()[event.substrate_id] if name != "None"}
                known = last.pop(event.substrate_id, None)
                if known is None:
                    untold += 1
                else:
                    risk = known.risk
                    top = risk.patterns[int(np.argmax(risk.probabilities))]
                    lead_ms = event.time_ms - known.first_half_ms
                    early = lead_ms / _HOUR_MS if known.first_half_ms >= 0 else -1.0
                    rows.append((risk.any_pattern, bool(true), top in true, early))
                heard = _labelled(event, true, chance)
            for answer in engine.handle(heard):
                if isinstance(answer, Risk):
                    told += 1
                    known = last.setdefault(answer.substrate_id, _Last(answer))
                    known.risk = answer
                    if answer.any_pattern >= 0.5 and known.first_half_ms < 0:
                        known.first_half_ms = answer.time_ms
        if fab.wafers_done >= shown + 100:
            shown = fab.wafers_done
            largest = max(largest, len(engine.snapshot()))
            on_progress(shown)
    risks = np.array([row[0] for row in rows])
    bad = np.array([float(row[1]) for row in rows])
    named = np.array([row[2] for row in rows], dtype=bool)
    leads = np.array([row[3] for row in rows])
    run = RiskRun(
        scenario=scenario.name,
        seed=seed,
        scores=score_risks(risks, bad, named, leads),
        bad_by_excursion=sum(item.affected for item in fab.truth()),
        risk_events=told,
        untold=untold,
        state_bytes=largest,
    )
    return run, risks, bad


def score_risks(
    risks: Floats,
    bad: Floats,
    named: npt.NDArray[np.bool_] | None = None,
    leads: Floats | None = None,
) -> RiskScores:
    """Compare foreseen with seen.

    Args:
        risks: (N,) 0 to 1.
        bad: (N,) 0 or 1.
        named: (N,) whether the most probable pattern is a true one; None leaves it out.
        leads: (N,) hours from the first risk of a half to the test, negative where there was none;
            None leaves them out.
    """
    wafers, count = len(risks), int(bad.sum())
    share = count / wafers if wafers else 0.0
    brier = float(np.mean((risks - bad) ** 2)) if wafers else 0.0
    brier_base = share * (1.0 - share)
    high = risks >= 0.5
    caught = high & (bad > 0)
    bins, error = [], 0.0
    place = np.clip(np.searchsorted(_EDGES, risks, side="right") - 1, 0, len(_EDGES) - 2)
    for number in range(len(_EDGES) - 1):
        mine = place == number
        if not mine.any():
            continue
        foreseen, seen = float(risks[mine].mean()), float(bad[mine].mean())
        error += abs(foreseen - seen) * float(mine.mean())
        bins.append(
            RiskBin(
                low=_EDGES[number],
                high=_EDGES[number + 1],
                wafers=int(mine.sum()),
                foreseen=round(foreseen, 4),
                bad=round(seen, 4),
            )
        )
    early = np.zeros(0) if leads is None else leads[caught & (leads >= 0.0)]
    return RiskScores(
        wafers=wafers,
        bad=count,
        brier=round(brier, 5),
        brier_base=round(brier_base, 5),
        skill=round(1.0 - brier / brier_base, 4) if brier_base else None,
        auc=_auc(risks, bad),
        calibration_error=round(error, 5),
        caught=int(caught.sum()),
        false=int((high & (bad == 0)).sum()),
        named=None if named is None else int((caught & named).sum()),
        lead_h=round(float(np.median(early)), 2) if len(early) else None,
        bins=bins,
    )


def _auc(risks: Floats, bad: Floats) -> float | None:
    """Mann and Whitney's U over the number of pairs."""
    positive = int(bad.sum())
    negative = len(bad) - positive
    if not positive or not negative:
        return None
    ranks = rankdata(risks)[bad > 0].sum()
    return round(float((ranks - positive * (positive + 1) / 2) / (positive * negative)), 4)


def _labelled(event: WaferMap, true: set[str], chance: random.Random) -> Prediction:
    """What a model that is wrong about 3 % of the wafers says."""
    told = sorted(true)
    if chance.random() < _WRONG:
        told = [] if true else [chance.choice(PATTERNS[1:])]
    return Prediction(
        event_id=derived_id("prediction", event.event_id),
        site=event.site,
        time_ms=event.time_ms,
        input_id=event.event_id,
        input_type=WaferMap.ce_type,
        lot_id=event.lot_id,
        substrate_id=event.substrate_id,
        slot=event.slot,
        labels=PATTERNS,
        probabilities=tuple(1.0 if name in told else 0.0 for name in PATTERNS),
        predicted=tuple(told) or ("None",),
        model_name="truth",
        model_version="1",
        model_sha256="0" * 64,
        provider="none",
    )
