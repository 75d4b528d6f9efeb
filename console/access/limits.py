"""How often somebody may: token buckets, of which only the latest used are remembered."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Limit"]

# A few hundred bytes each. Whoever has more addresses than this is slowed down by what is counted
# for all together.
_KEYS = 10_000


class Limit:
    """`burst` at once, then `per_s` a second, for each key.

    Args:
        burst: how many may come at once.
        per_s: how many come back a second.
        keys: how many are remembered; the longest unused is forgotten first.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        burst: float,
        per_s: float,
        *,
        keys: int = _KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, key: str) -> float:
        """Take one; 0 if that is allowed, otherwise the seconds until it will be."""
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._per_s)
            allowed = left >= 1.0
            self._left[key] = (left - 1.0 if allowed else left, now)
            if len(self._left) > self._keys:
                self._left.popitem(last=False)
            return 0.0 if allowed else (1.0 - left) / self._per_s

    def forget(self, key: str) -> None:
        """Give all back, as after a login that worked."""
        with self._lock:
            self._left.pop(key, None)
