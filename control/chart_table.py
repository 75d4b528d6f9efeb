"""The numbers of a group of charts: a row a module, a column a variable and statistic.

It grows with the modules and variables that come, within bounds, and is saved as it is.
"""

import numpy as np
import numpy.typing as npt

from control.state import GroupRecord
from control.traces import STATISTICS

__all__ = ["MAX_ROWS", "MAX_VARIABLES", "ChartTable"]

MAX_ROWS = 48
MAX_VARIABLES = 64

Floats = npt.NDArray[np.float64]
_FIELDS = ("count", "mean", "var", "ewma", "level", "since")


class ChartTable:
    """Rows of modules, and what is kept of each.

    Attributes:
        modules: names of the M rows.
        variables: V names; K = 3 V columns, a statistic of all variables after the other.
        numbers: (6, M, K): wafers a baseline is worth, its mean and variance, EWMA in spreads,
            recent level, and when the chart was last in place.
        warm_up: row of a module that has no baseline yet to its readings, (K,) each.
        settling: row to its traces since maintenance, until they are as many as a baseline has at
            most.
        last_ms: of the latest trace.
    """

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.variables: list[str] = []
        self.numbers: Floats = np.zeros((len(_FIELDS), 0, 0))
        self.warm_up: dict[int, list[Floats]] = {}
        self.settling: dict[int, int] = {}
        self.last_ms = -1
        self._names: tuple[tuple[str, str], ...] = ()

    @property
    def cells(self) -> int:
        """Rows times columns."""
        return len(self.modules) * len(self.variables) * len(STATISTICS)

    def find(self, module: str) -> int:
        """The row of a module; -1 if it has none."""
        return self.modules.index(module) if module in self.modules else -1

    def row(self, module: str) -> int | None:
        """The row of a module, a new one in its warm-up if it has none; None if none is left."""
        if (found := self.find(module)) >= 0:
            return found
        if len(self.modules) >= MAX_ROWS:
            return None
        self.modules.append(module)
        fields, _, columns = self.numbers.shape
        self.numbers = np.concatenate([self.numbers, np.zeros((fields, 1, columns))], axis=1)
        self.warm_up[len(self.modules) - 1] = []
        return len(self.modules) - 1

    def charts(self) -> tuple[tuple[str, str], ...]:
        """(variable, statistic) of each column."""
        if len(self._names) != len(STATISTICS) * len(self.variables):
            self._names = tuple(
                (variable, statistic) for statistic in STATISTICS for variable in self.variables
            )
        return self._names

    def align(self, variables: tuple[str, ...], summary: Floats) -> Floats:
        """The summary in the group's own order of columns; new variables get columns."""
        width = len(variables)
        if list(variables) != self.variables:
            new = [v for v in dict.fromkeys(variables) if v not in self.variables and len(v) <= 64]
            new = new[: MAX_VARIABLES - len(self.variables)]
            if new:
                self._widen(new)
        if list(variables) == self.variables:
            return summary
        columns = len(self.variables)
        out = np.full((len(STATISTICS), columns), np.nan)
        index = {name: place for place, name in enumerate(self.variables)}
        given = summary.reshape(len(STATISTICS), width)
        for place, name in enumerate(variables):
            if name in index:
                out[:, index[name]] = given[:, place]
        return out.ravel()

    def _widen(self, new: list[str]) -> None:
        rows, statistics = len(self.modules), len(STATISTICS)
        old, wide = len(self.variables), len(self.variables) + len(new)
        numbers = np.zeros((len(_FIELDS), rows, statistics, wide))
        numbers[..., :old] = self.numbers.reshape(len(_FIELDS), rows, statistics, old)
        self.numbers = numbers.reshape(len(_FIELDS), rows, statistics * wide)
        for readings in self.warm_up.values():
            for place, reading in enumerate(readings):
                padded = np.full((statistics, wide), np.nan)
                padded[:, :old] = reading.reshape(statistics, old)
                readings[place] = padded.ravel()
        self.variables.extend(new)

    def record(self) -> GroupRecord:
        """The table as it is saved."""
        warm_up = {
            row: np.asarray(readings, dtype="<f4").tobytes()
            for row, readings in self.warm_up.items()
        }
        return GroupRecord(
            list(self.modules),
            list(self.variables),
            self.numbers.astype("<f8").tobytes(),
            warm_up,
            self.last_ms,
            dict(self.settling),
        )

    @classmethod
    def restore(cls, record: GroupRecord) -> "ChartTable":
        """The table that `record` saved.

        Raises:
            ValueError: the bytes do not fit the number of modules and variables.
        """
        table = cls()
        table.modules, table.variables = list(record.modules), list(record.variables)
        columns = len(record.variables) * len(STATISTICS)
        shape = (len(_FIELDS), len(record.modules), columns)
        table.numbers = np.frombuffer(record.numbers, dtype="<f8").reshape(shape).copy()
        for row, data in record.warm_up.items():
            readings = np.frombuffer(data, dtype="<f4").reshape(-1, columns).astype(np.float64)
            table.warm_up[row] = list(readings)
        table.settling = dict(record.settling)
        table.last_ms = record.last_ms
        return table
