"""Which wafers are explained by a cause that is known already, so that they accuse nobody else."""

from control.lineage import Lineage
from control.state import ClosedCause, ControlState

__all__ = ["Causes"]

# Closed causes matter only until the wafers they made are tested.
MAX_CLOSED = 200


class Causes:
    """Known causes, open and closed, as stretches of time on a module.

    Args:
        state: with the alerts and the closed causes.
        lineage: where the tested wafers went.
    """

    def __init__(self, state: ControlState, lineage: Lineage) -> None:
        self._state = state
        self._lineage = lineage
        self._explained: dict[str, tuple[str, ...]] = {}
        self.refresh()

    @property
    def explained(self) -> dict[str, tuple[str, ...]]:
        """Tested wafers that a cause explains, to the modules of those causes."""
        return self._explained

    def refresh(self) -> None:
        """Look at all tested wafers again; call it when a cause came, went or was removed."""
        self._explained = {}
        for substrate_id in self._lineage.tested:
            self.note(substrate_id)

    def note(self, substrate_id: str) -> tuple[str, ...]:
        """Take in one wafer that was tested, or whose route became known only now."""
        modules = tuple(
            module
            for module, time_ms in self._lineage.modules_of(substrate_id).items()
            if self._covers(module, time_ms)
        )
        if modules:
            self._explained[substrate_id] = modules
        else:
            self._explained.pop(substrate_id, None)
        return modules

    def forget(self) -> None:
        """Drop wafers that the lineage has forgotten."""
        if len(self._explained) > 2 * len(self._lineage.tested) + 100:
            self.refresh()

    def close(self, module: str, pattern: str, since_ms: int, until_ms: int) -> None:
        """A cause is over: what the module made until then stays explained."""
        self._state.closed.append(ClosedCause(module, pattern, since_ms, until_ms))
        del self._state.closed[:-MAX_CLOSED]
        self.refresh()

    def fresh_ms(self) -> dict[str, int]:
        """Per module, the time until which its wafers are no new evidence against it."""
        fresh: dict[str, int] = {}
        for cause in self._state.closed:
            fresh[cause.module] = max(cause.until_ms, fresh.get(cause.module, -1))
        for alert in self._state.alerts.values():
            if alert.module and alert.until_ms >= 0:
                fresh[alert.module] = max(alert.until_ms, fresh.get(alert.module, -1))
        return fresh

    def _covers(self, module: str, time_ms: int) -> bool:
        return any(
            alert.module == module
            and alert.since_ms <= time_ms
            and (alert.until_ms < 0 or time_ms <= alert.until_ms)
            for alert in self._state.alerts.values()
        ) or any(
            cause.module == module and cause.since_ms <= time_ms <= cause.until_ms
            for cause in self._state.closed
        )
