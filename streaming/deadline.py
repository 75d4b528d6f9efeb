"""A moment to be done by, so that waits inside waits add up to one limit."""

import time

__all__ = ["Deadline"]


class Deadline:
    """Counts down from `seconds`, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that remain, never below 0."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._at
