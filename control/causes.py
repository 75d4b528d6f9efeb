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
        self._explained: dict[str, tuple[tuple[str, str], ...]] = {}
        self.refresh()

    def explained(self, pattern: str) -> dict[str, tuple[str, ...]]:
        """Tested wafers on which a cause explains `pattern`, to the modules of those causes.

        A cause explains its own pattern; a fault that was over before any wafer was tested
        explains whatever its wafers turn out to have.
        """
        found = {}
        for name, causes in self._explained.items():
            modules = tuple(module for module, known in causes if known in ("", pattern))
            if modules:
                found[name] = modules
        return found

    def explains(self, substrate_id: str) -> bool:
        """Whether a known cause was at work on a tested wafer."""
        return substrate_id in self._explained

    def refresh(self) -> None:
        """Look at all tested wafers again; call it when a cause came, went or was removed."""
        self._explained = {}
        for substrate_id in self._lineage.tested:
            self.note(substrate_id)

    def note(self, substrate_id: str) -> None:
        """Take in one wafer that was tested, or whose route became known only now."""
        causes = tuple(
            (module, pattern)
            for module, time_ms in self._lineage.visits_to(substrate_id)
            for pattern in self._covering(module, time_ms)
        )
        if causes:
            self._explained[substrate_id] = causes
        else:
            self._explained.pop(substrate_id, None)

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
            if alert.module and alert.until_ms >= 0 and not alert.judged_only:
                fresh[alert.module] = max(alert.until_ms, fresh.get(alert.module, -1))
        return fresh

    def _covering(self, module: str, time_ms: int) -> list[str]:
        """Patterns of the causes at work on a module at a time.

        A fault that is still open explains nothing: which pattern it makes is not known yet.
        """
        at_work = [
            alert.pattern
            for alert in self._state.alerts.values()
            if alert.module == module
            and not alert.judged_only
            and (alert.pattern or alert.until_ms >= 0)
            and alert.since_ms <= time_ms
            and (alert.until_ms < 0 or time_ms <= alert.until_ms)
        ]
        over = [
            cause.pattern
            for cause in self._state.closed
            if cause.module == module and cause.since_ms <= time_ms <= cause.until_ms
        ]
        return at_work + over
