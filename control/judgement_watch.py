"""Charts of what served models of faults say: is a module's score beyond the limit too often?

A judgement's score is T2 and SPE of the run in one figure over the limit that one normal run in a
hundred passes (docs/traces.md). How it is distributed is not known, and heavy tails would make a
mean of scores cry wolf; that it passes its limit is a yes or no with a known share. So a Bernoulli
CUSUM (`control.spc.bernoulli`) follows each module, recipe, step and version of a model: no warm-up
is needed, a state of a few numbers, and an ARL that is exact.

Nothing here decides anything: what follows from a signal is in `control.judgement_desk`.
"""

from typing import NamedTuple

from contracts.events import ChartPoint, Contribution, TraceJudgement
from contracts.ids import derived_id
from control.policy import Policy
from control.spc.bernoulli import BernoulliChart, bernoulli_chart, bernoulli_run_length
from control.state import ControlState, JudgedChart

__all__ = ["MAX_CHARTS", "RULE", "JudgementWatch", "Spoken", "evidence"]

RULE = "bernoulli-cusum"
LIMIT = 1.0
"""Scores are told over the model's limit."""
# Of normal runs: what the limit promises, by its definition.
NOMINAL_RATE = 0.01
# Twice that is what the chart takes for usual: a model does not follow what moves after training.
USUAL_RATE = 0.02
# Of runs on a module that is sick. With it a hit weighs six times what is taken away by each run,
# a whole number as the chart wants it.
SICK_RATE = 0.48
# More than any fab serves models for; a flood of invented names stops here.
MAX_CHARTS = 400
_MOST_PARTS, _MOST_WAFERS = 20, 25
_SHOWN_PARTS = 3
_SEPARATOR = "\x1f"


class Spoken(NamedTuple):
    """What one judgement led to.

    Attributes:
        point: for the chart.
        chart: as it stands now.
        model: name and version.
        signal: the chart says that too many runs are beyond the limit, with this one again.
        begins: it did not say so before: an episode begins.
        hit: this score is beyond the limit.
    """

    point: ChartPoint
    chart: JudgedChart
    model: str
    signal: bool
    begins: bool
    hit: bool


class JudgementWatch:
    """All charts of a site.

    Args:
        policy: runs between two false alarms, as between two tested wafers'.
        state: with the charts; changed in place.
    """

    def __init__(self, policy: Policy, state: ControlState) -> None:
        self._state = state
        self._chart: BernoulliChart = bernoulli_chart(
            USUAL_RATE, SICK_RATE, policy.detection.wafers_per_false_alert
        )

    def judged(self, event: TraceJudgement, score: float) -> Spoken | None:
        """Chart a judgement; None if it is older than what was charted.

        Args:
            event: of a task 'fault'.
            score: its score.
        """
        model = f"{event.model_name} v{event.model_version}"
        key = _SEPARATOR.join((event.key, event.recipe_id, event.step, model))
        chart = self._state.judged.get(key)
        if chart is None:
            self._make_room()
            chart = self._state.judged[key] = JudgedChart()
        if event.time_ms <= chart.last_ms:
            return None
        chart.last_ms = event.time_ms
        chart.points += 1
        hit = score > LIMIT
        before = chart.total
        chart.total = self._chart.add(before, hit)
        chart.quiet = 0 if hit else chart.quiet + 1
        if chart.total == 0:
            _begin_again(chart)
        else:
            _follow(chart, event, score, begins=before == 0)
        signal = hit and chart.total >= self._chart.limit
        begins = signal and not chart.told
        chart.told |= signal
        return Spoken(self._point(event, chart, model, score), chart, model, signal, begins, hit)

    def of(self, module: str, now_ms: int, forgotten_ms: int) -> list[JudgedChart]:
        """Charts of a module that signalled and are not back yet, and are still heard of.

        Args:
            module: 'equipment/module'.
            now_ms: the fab's clock.
            forgotten_ms: a chart that was silent for so long, as its version of the model serves no
                more, says nothing for or against the module.
        """
        told = []
        for chart in self._charts(module):
            if chart.told and chart.last_ms < now_ms - forgotten_ms:
                chart.told = False
                _begin_again(chart)
            if chart.told:
                told.append(chart)
        return told

    def start_again(self, module: str) -> None:
        """A module was repaired, or is back by itself: only what comes now counts."""
        for chart in self._charts(module):
            chart.quiet, chart.told = 0, False
            _begin_again(chart)

    def _charts(self, module: str) -> list[JudgedChart]:
        start = module + _SEPARATOR
        return [chart for key, chart in self._state.judged.items() if key.startswith(start)]

    def _make_room(self) -> None:
        """Drop the chart that was not used for longest, if there are too many."""
        charts = self._state.judged
        if len(charts) >= MAX_CHARTS:
            del charts[min(charts, key=lambda key: (charts[key].last_ms, key))]

    def _point(
        self, event: TraceJudgement, chart: JudgedChart, model: str, score: float
    ) -> ChartPoint:
        place = (event.key, event.recipe_id, event.step, model)
        return ChartPoint(
            event_id=derived_id("judged-point", event.event_id),
            site=event.site,
            time_ms=event.time_ms,
            chart_id=derived_id("judged-chart", event.site, *place),
            chart="score",
            equipment_id=event.equipment_id,
            module_id=event.module_id,
            step=event.step,
            recipe_id=event.recipe_id,
            parameter=model,
            lot_id=event.lot_id,
            substrates=(event.substrate_id,),
            value=score,
            # What a score is in control nobody knows but that it is seldom beyond 1.
            center=0.0,
            lower=None,
            upper=LIMIT,
            sigma=0.0,
            rules=(RULE,) if chart.total >= self._chart.limit else (),
            enabled=(RULE,),
            arl0=bernoulli_run_length(self._chart, NOMINAL_RATE),
            arl1=bernoulli_run_length(self._chart, SICK_RATE),
            phase=2,
            points=chart.points,
            contributions=event.contributions if score > LIMIT else (),
        )


def evidence(chart: JudgedChart, model: str) -> tuple[str, ...]:
    """What a chart says, in words with numbers: how often, how far, and which variables."""
    hits = max(1, chart.hits)
    said = [
        f"{model}: {chart.hits} of {chart.runs} runs beyond its limit, at most"
        f" {chart.worst:.3g} times"
    ]
    said += [f"{variable}: {total / hits:.0%} of the score" for variable, total in ranked(chart)]
    return tuple(said)


def ranked(chart: JudgedChart) -> list[tuple[str, float]]:
    """The variables that contributed most since the stretch began, the largest first."""
    return sorted(chart.parts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_PARTS]


def _begin_again(chart: JudgedChart) -> None:
    chart.total = chart.runs = chart.hits = 0
    chart.since_ms, chart.worst = -1, 0.0
    chart.parts, chart.substrates = {}, []


def _follow(chart: JudgedChart, event: TraceJudgement, score: float, *, begins: bool) -> None:
    """One more run of a stretch in which the sum is above zero."""
    if begins:
        chart.since_ms = event.time_ms
    chart.runs += 1
    if score <= LIMIT:
        return
    chart.hits += 1
    chart.worst = max(chart.worst, score)
    chart.substrates = [*chart.substrates, event.substrate_id][-_MOST_WAFERS:]
    for variable, share in _shares(event.contributions, score):
        chart.parts[variable] = chart.parts.get(variable, 0.0) + share
    while len(chart.parts) > _MOST_PARTS:
        del chart.parts[min(chart.parts, key=lambda name: (chart.parts[name], name))]


def _shares(contributions: tuple[Contribution, ...], score: float) -> list[tuple[str, float]]:
    """Shares of the score: every run counts the same, however far out it is."""
    return [
        (one.variable[:100], min(1.0, max(0.0, one.value / score)))
        for one in contributions[:_MOST_PARTS]
    ]
