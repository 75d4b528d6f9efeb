"""The synthetic fab, one step at a time."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

import msgspec
import simpy

from contracts.errors import ConfigError, GuardRailError
from contracts.events import Action, ActionStatus, Event
from contracts.ids import check_site
from contracts.topics import Stream
from fab_sim.line import Line
from fab_sim.modules import Illness, Module
from fab_sim.orders import obey
from fab_sim.qualification import Qualified, qualify
from fab_sim.rendering import Renderer
from fab_sim.scenario import Scenario
from fab_sim.tally import Tally
from fab_sim.truth import ModuleHour, TrueExcursion, TruthSink
from fab_sim.upkeep import HOUR_MS

__all__ = ["Fab"]

# Ids of actions are remembered to obey each once; far more than are ever open at a time.
_REMEMBERED_ACTIONS = 10_000
_NEVER = float("inf")


class Fab:
    """A site that makes wafers, step by step, and obeys actions.

    The same scenario, site, seed and actions give the same events, byte for byte.

    Args:
        scenario: what the fab has and what goes wrong.
        site: its name; sites differ in their habits.
        seed: instead of the scenario's own.
        start_ms: the fab's clock at the start, milliseconds since the epoch, UTC.
        streams: that somebody wants; a fab that need not draw traces is faster. What happens is
            the same whatever is wanted.
        sink: is told what really happened.

    Raises:
        ConfigError: `site` is no site name.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        site: str,
        seed: int | None = None,
        start_ms: int,
        streams: Collection[Stream] = frozenset(Stream),
        sink: TruthSink | None = None,
    ) -> None:
        self._site = check_site(site)
        self._scenario = scenario = scenario.at(self._site)
        self._start_ms = start_ms
        self._sink = sink
        self._hour = 0
        self._seed = scenario.seed if seed is None else seed
        self._env = simpy.Environment(initial_time=start_ms)
        self._renderer = Renderer(scenario, self._site, self._seed, streams, sink)
        self._renderer.now_ms = start_ms
        self._line = Line(self._env, scenario, self._site, self._seed, self._renderer)
        self._tick = 0
        self._pending: list[Action] = []
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def now_ms(self) -> int:
        """The fab's clock."""
        return int(self._env.now)

    @property
    def tick(self) -> int:
        """Steps made so far: the position of what `step` returned last."""
        return self._tick

    @property
    def wafers_done(self) -> int:
        """Wafers tested so far, each with its map."""
        return self._renderer.wafers_done

    @property
    def finished(self) -> bool:
        """Whether all of a scenario's `total` of lots are done, and every action is obeyed."""
        return not self._pending and self._line.all_done

    @property
    def tally(self) -> Tally:
        """What the run was worth so far."""
        return self._renderer.tally

    @property
    def modules(self) -> Mapping[str, Module]:
        """The modules and their hidden state, by 'equipment/module': for the truth, not the log."""
        return self._line.modules

    def sick(self) -> Sequence[tuple[Module, Illness]]:
        """What is wrong right now, module by module; truth, like `modules`."""
        return self._renderer.sick

    def visits_to_come(self, kind: str) -> float:
        """Wafers that modules of a kind have yet to process; truth, like `modules`."""
        return self._line.visits_to_come(kind)

    def qualifications(self) -> dict[tuple[str, str], Qualified]:
        """How every module was qualified, by module and measured parameter: no secret in a fab."""
        sampling = self._scenario.sampling
        diameter = self._scenario.products[0].wafer_diameter_mm
        return {
            (name, found.parameter): found
            for name, module in self._line.modules.items()
            for found in qualify(module, sampling.sites, diameter)
        }

    def truth(self) -> tuple[TrueExcursion, ...]:
        """What really went wrong so far, by onset. Never goes onto the log."""
        return self._renderer.truth.excursions()

    def true_patterns(self) -> Mapping[str, tuple[str, ...]]:
        """True patterns of the latest 10,000 tested wafers, by substrate id."""
        return self._renderer.truth.patterns()

    def submit(self, action: Action) -> None:
        """Hand over an approved action; it is obeyed in the next step.

        An action that was handed over before is ignored.

        Raises:
            GuardRailError: it is not approved, or is for another site.
        """
        if action.status != "approved":
            raise GuardRailError(
                f"action {action.action_id} is {action.status}; the fab obeys approved ones"
            )
        if action.site != self._site:
            raise GuardRailError(
                f"action {action.action_id} is for site {action.site!r}, this is {self._site!r}"
            )
        if action.action_id not in self._seen:
            self._remember(action.action_id)
            self._pending.append(action)

    def step(self) -> list[Event]:
        """Go on to the next thing that happens.

        Returns:
            The events of one moment, in order. Where all streams are wanted it is empty only when
            nothing will ever happen again; else see `finished`.
        """
        due, self._pending = self._pending, []
        return self._step(due)

    def restore(self, until_tick: int, history: Sequence[Action]) -> None:
        """Become the fab that made `until_tick` steps, without drawing their events again.

        Args:
            until_tick: position of the last step whose events are safe.
            history: the answers this fab gave, status 'applied' or 'failed', in any order;
                others, and answers of later steps, are ignored.

        Raises:
            ConfigError: this fab has made steps already, or the history is another fab's.
        """
        if self._tick:
            raise ConfigError("only a new fab can be restored; make one and restore that")
        answers: dict[int, list[Action]] = {}
        for action in history:
            if action.status in ("applied", "failed") and action.site == self._site:
                answers.setdefault(action.time_ms, []).append(action)
        self._renderer.silent = True
        while self._tick < until_tick:
            before = self._tick
            due = answers.pop(self.now_ms + 1, [])
            for action in due:
                self._remember(action.action_id)
            self._step(due)
            if self._tick == before:
                raise ConfigError(
                    f"this fab ends after {before} steps, step {until_tick} was asked for:"
                    " the position belongs to another scenario or seed"
                )
        self._renderer.silent = False
        missed = [time_ms for time_ms in answers if time_ms <= self.now_ms]
        if missed:
            raise ConfigError(
                f"an action was answered at {min(missed)} ms, when nothing happened in this fab:"
                " the history belongs to another scenario, seed or start"
            )

    def _remember(self, action_id: str) -> None:
        self._seen[action_id] = None
        if len(self._seen) > _REMEMBERED_ACTIONS:
            self._seen.popitem(last=False)

    def _step(self, due: list[Action]) -> list[Event]:
        if due:
            # Sorted, so that a restored fab obeys in the same order.
            orders = sorted(due, key=lambda action: action.action_id)
            moment = self._env.timeout(1)
            moment.callbacks.append(lambda _: self._obey(orders))
        env, renderer = self._env, self._renderer
        while True:
            at = env.peek()
            if at == _NEVER:
                return []
            renderer.now_ms = int(at)
            if self._sink is not None and not renderer.silent:
                self._tell_hours(self._sink, int(at))
            while env.peek() == at:
                env.step()
            if renderer.happened:
                self._tick += 1
                return renderer.take()

    def _tell_hours(self, sink: TruthSink, until_ms: int) -> None:
        """How every module stood at the end of each hour that has passed."""
        while self._start_ms + (self._hour + 1) * HOUR_MS <= until_ms:
            self._hour += 1
            sink.hour(
                [
                    ModuleHour(
                        site=self._site,
                        hour=self._hour,
                        module=module.name,
                        kind=module.kind,
                        state=module.state,
                        inhibited=module.inhibited,
                        wafers_since_pm=module.wafers_since_pm,
                        modes=tuple(illness.excursion.mode for illness in module.illnesses),
                        progress=tuple(illness.progress() for illness in module.illnesses),
                    )
                    for module in self._line.modules.values()
                ]
            )

    def _obey(self, orders: list[Action]) -> None:
        for action in orders:
            answer = obey(self._line, action)
            status: ActionStatus = "failed" if answer.reason else "applied"
            self._renderer.add(
                msgspec.structs.replace(
                    action,
                    event_id=Action.event_id_for(action.action_id, status),
                    time_ms=self.now_ms,
                    status=status,
                    by="fab",
                    comment=answer.reason,
                )
            )
            if not answer.reason:
                self._renderer.obeyed(action, answer.touched)
