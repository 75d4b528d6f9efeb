"""Shewhart chart of individuals with the Western Electric rules.

Western Electric, Statistical Quality Control Handbook (1956), pp. 25-28; on normal independent
data all four together give a false alarm every 91.75 points (C. W. Champ and W. H. Woodall,
Technometrics 29 (1987), table 1).
"""

from collections import deque

__all__ = ["ARL0", "WesternElectric"]

ARL0 = 91.75
"""Mean number of points to a false alarm, all four rules together."""


class WesternElectric:
    """The four rules on one chart. Feed it deviations in sigmas, oldest first.

    >>> chart = WesternElectric()
    >>> [chart.add(z) for z in (0.3, 2.1, -0.2, 2.2)]
    [0, 0, 0, 2]
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=8)

    def add(self, deviation: float) -> int:
        """One more point.

        Returns:
            The first rule that is broken, 1 to 4: one point beyond 3 sigmas; two of three beyond 2
            on one side; four of five beyond 1 on one side; eight in a row on one side. 0 for none.
        """
        self._last.append(deviation)
        for side in (1.0, -1.0):
            points = [side * value for value in self._last]
            if points[-1] > 3.0:
                return 1
            if points[-1] > 2.0 and sum(value > 2.0 for value in points[-3:]) >= 2:
                return 2
            if points[-1] > 1.0 and sum(value > 1.0 for value in points[-5:]) >= 4:
                return 3
            if len(points) == 8 and min(points) > 0.0:
                return 4
        return 0

    def reset(self) -> None:
        """Forget all points, as after a repair."""
        self._last.clear()
