"""What the controller is worth: the advisor beside doing nothing, textbook SPC and knowing all.

Each scenario runs under all four policies with the same seed, so that they differ in what was done
and in nothing else. The share of the possible gain that a policy takes is
(value - none) / (oracle - none).
"""

import threading
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from fab_sim import Scenario
from fabpilot.fab_judge import JudgedRun, MakeAdvisor, PolicyName, judge_fab

__all__ = ["ControlReport", "ScenarioResult", "measure_control"]

POLICIES: tuple[PolicyName, ...] = ("none", "spc", "oracle", "advisor")
# Below this share of the value nothing was to be gained, and the share of it says nothing.
_LEAST_GAIN = 5e-4


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario with one seed.

    Attributes:
        captured: share of the possible gain that the advisor took; None where there was none.
        captured_spc: the same of SPC.
        above_spc: the advisor was worth more.
        excursions: that began; `named` of them with module and mode, the first time they were.
        misnamed: what was called something else first, as 'module: true mode, called mode'.
        unnamed: never named, as 'module: mode'.
        needless_stops: of the advisor; `spc_needless_stops` of SPC.
        wafers_ahead: of each that was named, before the first late metrology of a wafer it spoilt.
        unharmed: excursions that were stopped before they spoilt any.
        wafers_affected: by policy.
    """

    scenario: str
    seed: int
    unseen: bool
    value: dict[str, float]
    captured: float | None
    captured_spc: float | None
    above_spc: bool
    excursions: int
    named: int
    misnamed: list[str]
    unnamed: list[str]
    needless_stops: int
    spc_needless_stops: int
    stops: int
    alerts: int
    wafers_ahead: list[int]
    unharmed: int
    wafers_affected: dict[str, int]


class ControlReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of them.

    Attributes:
        captured: mean over the scenarios where something was to be gained; `captured_unseen` over
            those drawn by chance; `captured_least` the worst.
        captured_whole: of all gains together.
        above_spc: scenarios where the advisor is worth more, of `compared` with anything to gain.
        named_share: of the excursions, module and mode right.
        needless_stops: all together, and per site and week of fab time.
        wafers_ahead_median: before the first late metrology.
        quiet_needless_stops: most of one run of a scenario without excursions.
    """

    runs: list[ScenarioResult]
    captured: float | None
    captured_unseen: float | None
    captured_least: float | None
    captured_whole: float | None
    above_spc: int
    compared: int
    excursions: int
    named_share: float | None
    needless_stops: int
    needless_stops_a_week: float
    quiet_needless_stops: int | None
    wafers_ahead_median: float | None


def measure_control(
    scenarios: Sequence[tuple[Scenario, int, bool]],
    make_advisor: MakeAdvisor,
    *,
    start_ms: int,
    stop: threading.Event,
    on_run: Callable[[str], None] = lambda what: None,
) -> ControlReport | None:
    """Run every scenario under every policy.

    Args:
        scenarios: with seed, and whether it was drawn by chance; each with a total of lots.
        make_advisor: makes the advisor of a site.
        start_ms: the fab's clock at the start.
        stop: ends the measurement without a result.
        on_run: called after each run.
    """
    results: list[ScenarioResult] = []
    weeks = 0.0
    for scenario, seed, unseen in scenarios:
        runs: dict[str, JudgedRun] = {}
        for policy in POLICIES:
            run = judge_fab(
                scenario,
                sites=scenario.sites or ("kr1",),
                seed=seed,
                policy=policy,
                start_ms=start_ms,
                stop=stop,
                make_advisor=make_advisor,
            )
            if run is None:
                return None
            runs[policy] = run
            on_run(f"{scenario.name} {policy}")
        weeks += runs["advisor"].hours / 168.0
        results.append(_compare(runs, unseen))
    return _report(results, weeks)


def _compare(runs: dict[str, JudgedRun], unseen: bool) -> ScenarioResult:
    value = {name: run.value for name, run in runs.items()}
    gain = value["oracle"] - value["none"]
    worth = gain > _LEAST_GAIN * abs(value["none"])
    advisor = runs["advisor"]
    missed = [item for item in advisor.excursions if not item.named]
    return ScenarioResult(
        scenario=advisor.scenario,
        seed=advisor.seed,
        unseen=unseen,
        value={name: round(figure, 1) for name, figure in value.items()},
        captured=round((value["advisor"] - value["none"]) / gain, 4) if worth else None,
        captured_spc=round((value["spc"] - value["none"]) / gain, 4) if worth else None,
        above_spc=value["advisor"] > value["spc"],
        excursions=len(advisor.excursions),
        named=sum(item.named is True for item in advisor.excursions),
        misnamed=[f"{x.module}: {x.mode}, called {x.called}" for x in missed if x.called],
        unnamed=[f"{x.module}: {x.mode}" for x in missed if not x.called],
        needless_stops=advisor.needless_stops,
        spc_needless_stops=runs["spc"].needless_stops,
        stops=advisor.actions.get("schedule_pm", 0) + advisor.actions.get("inhibit_module", 0),
        alerts=advisor.alerts,
        wafers_ahead=[x.wafers_ahead for x in advisor.excursions if x.wafers_ahead is not None],
        unharmed=sum(x.wafers_affected == 0 and x.named is True for x in advisor.excursions),
        wafers_affected={
            name: sum(item.wafers_affected for item in run.excursions) for name, run in runs.items()
        },
    )


def _report(results: list[ScenarioResult], weeks: float) -> ControlReport:
    compared = [result for result in results if result.captured is not None]
    shares = [result.captured for result in compared if result.captured is not None]
    unseen = [r.captured for r in compared if r.unseen and r.captured is not None]
    gain = sum(r.value["oracle"] - r.value["none"] for r in compared)
    took = sum(r.value["advisor"] - r.value["none"] for r in compared)
    excursions = sum(result.excursions for result in results)
    named = sum(result.named for result in results)
    needless = sum(result.needless_stops for result in results)
    quiet = [result.needless_stops for result in results if not result.excursions]
    ahead = [wafers for result in results for wafers in result.wafers_ahead]
    return ControlReport(
        runs=results,
        captured=_mean(shares),
        captured_unseen=_mean(unseen),
        captured_least=min(shares, default=None),
        captured_whole=round(took / gain, 4) if gain > 0.0 else None,
        above_spc=sum(result.above_spc for result in compared),
        compared=len(compared),
        excursions=excursions,
        named_share=round(named / excursions, 4) if excursions else None,
        needless_stops=needless,
        needless_stops_a_week=round(needless / weeks, 3) if weeks else 0.0,
        quiet_needless_stops=max(quiet, default=None),
        wafers_ahead_median=median(ahead) if ahead else None,
    )


def _mean(shares: list[float]) -> float | None:
    return round(sum(shares) / len(shares), 4) if shares else None
