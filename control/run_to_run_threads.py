"""Run-to-run threads of a site: which measurement steers which set point on which module.

A thread is a product (or all), step, module, recipe and parameter. A run is a lot on the module,
its measurement a point of `control.metrology_watch`, or a wafer's virtual metrology. Nothing is
changed here: what is recommended goes through `control.orders` and its guard rails, and counts as
in force once the fab says that it applied it.
"""

from collections.abc import Iterator

from scipy.special import ndtri

from contracts.events import Action, ChartPoint, Event, ProcessEvent, RunToRun, VirtualMetrology
from contracts.ids import derived_id
from control.orders import Orders
from control.policy import Policy
from control.run_to_run import Controller, Tuning
from control.state import ControlState
from control.steering_policy import RunToRunThread

__all__ = ["MAX_THREADS", "RunToRunThreads"]

# Of 3 KB each in the saved state; a flood of invented modules stops here.
MAX_THREADS = 64
# Lots whose product is remembered: more than are ever on a line.
MAX_LOTS = 1000
_SEPARATOR = "\x1f"


class RunToRunThreads:
    """All threads of a site.

    Args:
        policy: which there are, and the limits of their parameters.
        state: with their memories.
        orders: where recommendations go.

    Raises:
        ValueError: the saved threads contradict themselves.
    """

    def __init__(self, policy: Policy, state: ControlState, orders: Orders) -> None:
        self._policy = policy
        self._state = state
        self._orders = orders
        self._controllers: dict[str, Controller] = {}
        self._products = dict(state.lot_products)
        for thread in policy.run_to_run:
            start = _start(thread)
            for key, record in state.threads.items():
                if key.startswith(start):
                    self._controllers[key] = Controller(
                        self._tuning(thread), thread.nominal, record
                    )

    def save(self) -> None:
        """Put what is kept outside the state back into it."""
        self._state.threads = {key: one.record() for key, one in self._controllers.items()}
        self._state.lot_products = self._products

    def processed(self, event: ProcessEvent) -> None:
        """A lot's product becomes known; only where a thread asks for it."""
        if any(thread.product for thread in self._policy.run_to_run):
            self._products[event.lot_id] = event.product[:64]
            while len(self._products) > MAX_LOTS:
                del self._products[next(iter(self._products))]

    def measured(self, point: ChartPoint) -> list[Event]:
        """A lot was measured."""
        out: list[Event] = []
        for thread in self._policy.run_to_run:
            if (thread.source, thread.step, thread.output) == (
                "metrology",
                point.step,
                point.parameter,
            ):
                out += self._run(thread, point, point.value, 0.0)
        return out

    def foretold(self, event: VirtualMetrology) -> list[Event]:
        """A wafer's measurement was foretold; one that says it is a guess is not used."""
        if event.unlike or not 0.0 < event.coverage < 1.0 or not event.high > event.low:
            return []
        deviation = (event.high - event.low) / (2.0 * float(ndtri(0.5 + 0.5 * event.coverage)))
        out: list[Event] = []
        for thread in self._policy.run_to_run:
            if (thread.source, thread.step, thread.output) == (
                "virtual_metrology",
                event.step,
                event.parameter,
            ):
                out += self._run(thread, event, event.predicted, deviation)
        return out

    def heard(self, action: Action) -> None:
        """A set point was changed, by us or by anybody else."""
        if action.kind != "adjust_recipe" or action.status != "applied":
            return
        for key, controller in self._controllers.items():
            _, _, parameter, module, recipe_id = key.split(_SEPARATOR)
            if _meets(action, module) and (recipe_id, parameter) == (
                action.recipe_id,
                action.parameter,
            ):
                controller.changed(action.value, self._state.now_ms)

    def repaired(self, module: str) -> list[Event]:
        """A module comes back from being down: what it was like before says little."""
        out: list[Event] = []
        for key, controller in self._of(module):
            controller.restart()
            out += self._orders.withdraw_all(_thread_id(self._state.site, key), "withdrawn: repair")
        return out

    def _of(self, module: str) -> Iterator[tuple[str, Controller]]:
        return (
            (key, one)
            for key, one in self._controllers.items()
            if key.split(_SEPARATOR)[3] == module
        )

    def _tuning(self, thread: RunToRunThread) -> Tuning:
        limits = self._policy.recipe_parameters[thread.parameter]
        return Tuning(
            target=thread.target,
            gain=thread.gain,
            weight=thread.weight,
            drift_weight=thread.drift_weight,
            low=limits.min,
            high=limits.max,
            max_step=limits.max_step,
            dead_band=thread.dead_band,
            noise=thread.noise,
            learn=thread.learn,
        )

    def _run(
        self,
        thread: RunToRunThread,
        event: ChartPoint | VirtualMetrology,
        value: float,
        deviation: float,
    ) -> list[Event]:
        product = self._products.get(event.lot_id, "")
        if thread.product and product != thread.product:
            return []
        key = _start(thread) + _SEPARATOR.join((event.key, event.recipe_id))
        controller = self._controllers.get(key)
        if controller is None:
            if len(self._controllers) >= MAX_THREADS:
                return []
            controller = Controller(self._tuning(thread), thread.nominal)
            self._controllers[key] = controller
        wanted = controller.measured(value, event.time_ms, self._state.now_ms, deviation)
        told = RunToRun(
            event_id=derived_id("run-to-run", event.event_id, key),
            site=self._state.site,
            time_ms=event.time_ms,
            thread=" | ".join((thread.product or "all products", thread.step, event.key)),
            product=thread.product,
            equipment_id=event.equipment_id,
            module_id=event.module_id,
            recipe_id=event.recipe_id,
            step=event.step,
            output=thread.output,
            parameter=thread.parameter,
            target=thread.target,
            measured=value,
            virtual=deviation > 0.0,
            disturbance=controller.disturbance,
            drift=controller.drift,
            set_point=controller.set_point,
            recommended=wanted,
            gain=thread.gain,
            gain_ratio=controller.gain_ratio,
            weight=thread.weight,
            runs=controller.runs,
            status=controller.status,
            reason=controller.reason,
        )
        return [told, *self._order(thread, key, controller, told)]

    def _order(
        self, thread: RunToRunThread, key: str, controller: Controller, told: RunToRun
    ) -> list[Event]:
        """The change that is recommended, in place of one that nobody has answered yet."""
        thread_id = _thread_id(self._state.site, key)
        waiting = [
            action
            for action in self._state.actions.values()
            if action.alert_id == thread_id and action.status in ("proposed", "approved")
        ]
        if any(action.status == "approved" for action in waiting):
            return []  # the fab is about to apply it
        changes = told.status in ("active", "limited") and told.recommended != told.set_point
        if changes and any(
            abs(thread.gain * (action.value - told.recommended)) <= thread.dead_band
            for action in waiting
        ):
            return []
        out = self._orders.withdraw_all(thread_id, "withdrawn: overtaken by another measurement")
        if not changes:
            return out
        action_id = derived_id("action", thread_id, told.event_id)
        action = Action(
            event_id=Action.event_id_for(action_id, "proposed"),
            site=self._state.site,
            time_ms=self._state.now_ms,
            action_id=action_id,
            alert_id=thread_id,
            kind="adjust_recipe",
            status="proposed",
            by="run-to-run",
            comment=(
                f"{thread.output} of {told.key} at {told.measured:.5g}, target {thread.target:.5g};"
                f" {thread.parameter} from {told.set_point:.5g} to {told.recommended:.5g}"
            ),
            equipment_id=told.equipment_id,
            module_id=told.module_id,
            recipe_id=told.recipe_id,
            parameter=thread.parameter,
            value=told.recommended,
            cost_good_dies=self._policy.economics.cost_good_dies["adjust_recipe"],
            confidence=round(controller.confidence, 4),
            check=f"{thread.output} of the next lots within {thread.dead_band:.3g} of the target",
            evidence=(
                f"{told.runs} runs, weight {thread.weight:g}, disturbance {told.disturbance:.5g}",
                told.reason or "within limits and largest step",
            ),
        )
        return out + self._orders.steer(action)


def _start(thread: RunToRunThread) -> str:
    """Beginning of the keys of a thread; module and recipe follow."""
    return _SEPARATOR.join((thread.product, thread.step, thread.parameter)) + _SEPARATOR


def _meets(action: Action, module: str) -> bool:
    """Whether an action was on the module; one without a module is on the whole equipment."""
    equipment_id, _, module_id = module.partition("/")
    return action.equipment_id == equipment_id and action.module_id in ("", module_id)


def _thread_id(site: str, key: str) -> str:
    return derived_id("run-to-run", site, key)
