"""What time it is in the fab, as its events tell: robust against events that lie about it."""

from control.state import ControlState

__all__ = ["FabTime"]

_DAY_MS = 86_400_000
# Further ahead than a long holiday, or further back than any queue: the clock is wrong, not late.
AHEAD_MS, BEHIND_MS = 30 * _DAY_MS, 14 * _DAY_MS
# If so many events in a row disagree with us, it is we who are wrong (a poisoned first event).
PATIENCE = 50
# Later than the year 200,000; beyond it, sums would not fit the saved state's integers.
_MAX_MS = 2**53


class FabTime:
    """The latest time that can be believed, kept in `ControlState.now_ms`.

    It goes back only when it turns out to have been wrong from the start.
    """

    def __init__(self, state: ControlState) -> None:
        self._state = state

    def accept(self, time_ms: int) -> bool:
        """Take in the time of an event; False if the event should not be used."""
        state = self._state
        if not 0 <= time_ms < _MAX_MS:
            return False
        plausible = state.now_ms < 0 or (
            state.now_ms - BEHIND_MS <= time_ms <= state.now_ms + AHEAD_MS
        )
        if not plausible:
            state.out_of_time += 1
            if state.out_of_time < PATIENCE:
                return False
            state.now_ms = time_ms
        state.out_of_time = 0
        state.now_ms = max(state.now_ms, time_ms)
        return True
