"""A fab run to its end under a policy, and what that was worth. No log, no clock, no chance."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.events import Action, Event
from contracts.topics import Stream
from fab_sim import Fab, Scenario, Tally, TrueExcursion, TruthSink
from fabpilot.fab_naming import NamingWatch
from fabpilot.fab_policies import AdvisorPolicy, FabPolicy, NoPolicy, OraclePolicy, SpcPolicy

__all__ = ["JudgedRun", "MakeAdvisor", "PolicyName", "RunExcursion", "SiteRun", "judge_fab"]

PolicyName = Literal["none", "spc", "oracle", "advisor"]
MakeAdvisor = Callable[[str], FabPolicy]
"""Makes the advisor of a site."""

_HOUR_MS = 3_600_000


class RunExcursion(msgspec.Struct, frozen=True, kw_only=True):
    """An excursion that began, in hours since the fab started.

    Attributes:
        module: 'equipment/module'.
        start_h: when it began.
        first_bad_wafer: substrate id of the first that suffered and was tested; '' for none.
        detected_h: when the first action on its module was obeyed.
        stopped_h: when it could do no more harm.
        wafers_affected: tested wafers that show it.
        named: an alert named its module and, first of all modes, a right one; None for a policy
            that names nothing. `named_h` is when, `called` what it was called first.
        wafers_ahead: wafers that entered the line from then until metrology first measured a wafer
            of the module from its first spoilt one on; negative if metrology came first, None if
            it was not named, never measured, or stopped before it spoilt any.
    """

    site: str
    id: str
    mode: str
    module: str
    start_h: float
    first_bad_wafer: str
    detected_h: float | None
    stopped_h: float | None
    wafers_affected: int
    named: bool | None = None
    named_h: float | None = None
    called: str = ""
    wafers_ahead: int | None = None


class SiteRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one site did. `value` as in `JudgedRun`."""

    site: str
    wafers: int
    good_dies: int
    hours: float
    value: float


class StreamDigest(msgspec.Struct, frozen=True, kw_only=True):
    """How many records a stream got, and the SHA-256 of all their bytes in order."""

    records: int
    sha256: str


class JudgedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A fab's run under a policy.

    Attributes:
        wafers: tested ones.
        good_dies: that passed; `die_yield` is their share of all dies tested.
        scrapped_wafers: thrown away.
        cycle_time_h: mean time of a lot on the line.
        module_availability: share of the module hours neither down nor inhibited.
        value: good dies per hour of fab time, less all costs (docs/fab.md has the table).
        cost_good_dies: those costs, all together, in good dies.
        hours: fab time the value is for, of all sites together.
        actions: obeyed by kind, and `refused` ones.
        needless_stops: of modules with which nothing was wrong: maintenance or inhibits obeyed.
        alerts: raised by the advisor.
        spc_points: points charted by the policy 'spc', and `spc_alarms` its stops.
        streams: of each stream, how much there was and its digest; only where asked for.
    """

    scenario: str
    seed: int
    policy: str
    wafers: int
    good_dies: int
    die_yield: float
    scrapped_wafers: int
    cycle_time_h: float
    module_availability: float
    value: float
    cost_good_dies: float
    hours: float
    lots: int
    actions: dict[str, int]
    refused: int
    needless_stops: int
    alerts: int
    spc_points: int
    spc_alarms: int
    excursions: list[RunExcursion]
    sites: list[SiteRun]
    streams: dict[str, StreamDigest]


def judge_fab(
    scenario: Scenario,
    *,
    sites: Sequence[str],
    seed: int,
    policy: PolicyName,
    start_ms: int,
    stop: threading.Event,
    make_advisor: MakeAdvisor | None = None,
    sink: TruthSink | None = None,
    digest: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> JudgedRun | None:
    """Run a fab until its last lot is done.

    Args:
        scenario: with a `total` of lots.
        sites: that run, one after another.
        seed: of the run.
        policy: what steers it.
        start_ms: the fab's clock at the start.
        stop: ends the run without a result.
        make_advisor: needed for the policy 'advisor'.
        sink: is told what really happened.
        digest: draw all streams and digest their bytes.
        on_progress: called with the number of tested wafers now and then.

    Returns:
        The report; None if stopped.

    Raises:
        ConfigError: the scenario has no `total`, so it would never end.
    """
    if scenario.lots.total is None:
        raise ConfigError("the scenario has no end: say how many lots to make (--lots)")
    book = _Digests() if digest else None
    runs: list[_SiteRunner] = []

    def show(wafers: int) -> None:
        if on_progress is not None:
            on_progress(wafers + sum(run.fab.wafers_done for run in runs))

    for site in sites:
        run = _SiteRunner(scenario, site, seed, policy, start_ms, make_advisor, sink, book)
        if not run.run(stop, show):
            return None
        runs.append(run)
    return _report(scenario, seed, policy, start_ms, runs, book)


class _Digests:
    """SHA-256 of every stream, site after site."""

    def __init__(self) -> None:
        self._hashes = {stream: hashlib.sha256() for stream in Stream}
        self._records = dict.fromkeys(Stream, 0)

    def add(self, events: Sequence[Event]) -> None:
        for event in events:
            message = encode(event)
            digest = self._hashes[event.stream]
            digest.update(message.key)
            digest.update(message.value)
            self._records[event.stream] += 1

    def report(self) -> dict[str, StreamDigest]:
        return {
            stream.value: StreamDigest(records=count, sha256=self._hashes[stream].hexdigest())
            for stream, count in self._records.items()
            if count
        }


class _SiteRunner:
    """One site under its policy."""

    def __init__(
        self,
        scenario: Scenario,
        site: str,
        seed: int,
        policy: PolicyName,
        start_ms: int,
        make_advisor: MakeAdvisor | None,
        sink: TruthSink | None,
        book: _Digests | None,
    ) -> None:
        self.site = site
        self._book = book
        advisor = make_advisor(site) if policy == "advisor" and make_advisor else None
        wanted = {"spc": SpcPolicy.streams}.get(policy, advisor.streams if advisor else ())
        streams = frozenset(Stream) if book is not None else frozenset(wanted)
        self.fab = Fab(
            scenario, site=site, seed=seed, start_ms=start_ms, streams=streams, sink=sink
        )
        self.policy: FabPolicy
        if advisor is not None:
            self.policy = advisor
        elif policy == "spc":
            self.policy = SpcPolicy(self.fab, site)
        elif policy == "oracle":
            self.policy = OraclePolicy(self.fab, site)
        else:
            self.policy = NoPolicy()
        self.obeyed: dict[str, int] = {}
        self.refused = 0
        self.stops: list[tuple[str, int]] = []
        self.watch = NamingWatch() if advisor is not None else None

    def run(self, stop: threading.Event, on_progress: Callable[[int], None]) -> bool:
        """To the end; False if stopped."""
        fab, policy = self.fab, self.policy
        shown = 0
        while not fab.finished:
            if stop.is_set():
                return False
            events = fab.step()
            if self._book is not None:
                self._book.add(events)
            self._count(events)
            if self.watch is not None:
                self.watch.saw(events)
            for action in policy.observe(events, fab.now_ms):
                fab.submit(action)
            if fab.wafers_done >= shown + 100:
                shown = fab.wafers_done
                on_progress(shown)
        on_progress(fab.wafers_done)
        return True

    def _count(self, events: Sequence[Event]) -> None:
        for event in events:
            if not isinstance(event, Action):
                continue
            if event.status == "applied":
                self.obeyed[event.kind] = self.obeyed.get(event.kind, 0) + 1
                if event.kind in ("schedule_pm", "inhibit_module"):
                    self.stops.append((f"{event.equipment_id}/{event.module_id}", event.time_ms))
            elif event.status == "failed":
                self.refused += 1

    def needless(self) -> int:
        """Stops of modules with which nothing was wrong."""
        truth = self.fab.truth()
        return sum(
            not any(
                item.module == module
                and item.onset_ms <= time_ms
                and (item.cleared_ms is None or time_ms <= item.cleared_ms)
                for item in truth
            )
            for module, time_ms in self.stops
        )


def _report(
    scenario: Scenario,
    seed: int,
    policy: PolicyName,
    start_ms: int,
    runs: Sequence[_SiteRunner],
    book: _Digests | None,
) -> JudgedRun:
    tallies: list[Tally] = [run.fab.tally for run in runs]
    wafers = sum(tally.wafers for tally in tallies)
    dies = sum(tally.dies for tally in tallies)
    good = sum(tally.good_dies for tally in tallies)
    lots = sum(tally.lots for tally in tallies)
    hours = sum(tally.hours for tally in tallies)
    actions: dict[str, int] = {}
    for run in runs:
        for kind, count in run.obeyed.items():
            actions[kind] = actions.get(kind, 0) + count
    cost = sum(tally.cost_wafers * tally.dies_per_wafer for tally in tallies)
    charts = [run.policy for run in runs if isinstance(run.policy, SpcPolicy)]
    return JudgedRun(
        scenario=scenario.name,
        seed=seed,
        policy=policy,
        wafers=wafers,
        good_dies=good,
        die_yield=good / dies if dies else 0.0,
        scrapped_wafers=sum(tally.scrapped_wafers for tally in tallies),
        cycle_time_h=sum(tally.lot_hours for tally in tallies) / lots if lots else 0.0,
        module_availability=(
            sum(tally.module_availability * tally.hours for tally in tallies) / hours
            if hours
            else 1.0
        ),
        value=(good - cost) / hours if hours else 0.0,
        cost_good_dies=cost,
        hours=hours,
        lots=lots,
        actions=actions,
        refused=sum(run.refused for run in runs),
        needless_stops=sum(run.needless() for run in runs),
        alerts=sum(len(run.policy.alerts) for run in runs if isinstance(run.policy, AdvisorPolicy)),
        spc_points=sum(chart.points for chart in charts),
        spc_alarms=sum(chart.alarms for chart in charts),
        excursions=[_excursion(run, item, start_ms) for run in runs for item in run.fab.truth()],
        sites=[
            SiteRun(
                site=run.site,
                wafers=run.fab.tally.wafers,
                good_dies=run.fab.tally.good_dies,
                hours=run.fab.tally.hours,
                value=run.fab.tally.value,
            )
            for run in runs
        ],
        streams=book.report() if book is not None else {},
    )


def _excursion(run: _SiteRunner, item: TrueExcursion, start_ms: int) -> RunExcursion:
    def hours(time_ms: int | None) -> float | None:
        return None if time_ms is None else round((time_ms - start_ms) / _HOUR_MS, 3)

    found = RunExcursion(
        site=run.site,
        id=item.excursion_id,
        mode=item.mode,
        module=item.module,
        start_h=hours(item.onset_ms) or 0.0,
        first_bad_wafer=item.first_affected_wafer,
        detected_h=hours(item.detected_ms),
        stopped_h=hours(item.stopped_ms),
        wafers_affected=item.affected,
    )
    if run.watch is None or not isinstance(run.policy, AdvisorPolicy):
        return found
    naming = run.watch.judge(item, run.fab.truth(), run.policy.namings)
    return msgspec.structs.replace(
        found,
        named=naming.right,
        named_h=hours(naming.time_ms),
        called=naming.called,
        wafers_ahead=naming.wafers_ahead,
    )
