"""What a set of sensor traces is, whatever its layout."""

import hashlib
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError

__all__ = ["ALL_PARTS", "Run", "TraceSet", "check_part"]

ALL_PARTS = "all"
"""The part that every set has: everything in it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One wafer in one module.

    Attributes:
        values: (T, V) float32, samples by variables, NaN where a value is missing; T may be 0.
        times_s: (T,) float64, seconds since the run's first sample, never falling.
        step: (T,) int64, the recipe step of each sample; None where the set names none.
    """

    values: npt.NDArray[np.float32]
    times_s: npt.NDArray[np.float64]
    step: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TraceSet:
    """N runs, with what is known of each.

    Attributes:
        name: of the set, such as 'phm2016_cmp'.
        runs: N of them.
        variables: V names, with the unit as suffix where the set tells it.
        group: (N,) str; runs of one group must never be on both sides of a split (one wafer, one
            lot).
        order: (N,) float64, when each run ended, in any unit: what stands earlier is known earlier.
        context: named columns (N,), float64 or str: stage, chamber, machine, place in the lot.
        target: (N,) float64, what was measured afterwards; NaN where nothing was.
        fault: per run the label of an induced fault, 'normal', or None where nobody knows.
        part: which part of the set this is.
        parts: the names that `load_traces` takes for the set.
        target_unit: such as 'um', or ''.
    """

    name: str
    runs: tuple[Run, ...]
    variables: tuple[str, ...]
    group: npt.NDArray[np.str_]
    order: npt.NDArray[np.float64]
    context: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    target: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    fault: tuple[str | None, ...] = ()
    part: str = ALL_PARTS
    parts: tuple[str, ...] = (ALL_PARTS,)
    target_unit: str = ""

    def __post_init__(self) -> None:
        n = len(self.runs)
        if not len(self.target):
            object.__setattr__(self, "target", np.full(n, np.nan))
        if not self.fault:
            object.__setattr__(self, "fault", (None,) * n)
        columns: dict[str, Sized] = {"group": self.group, "order": self.order}
        columns |= {"target": self.target, "fault": self.fault, **self.context}
        for name, column in columns.items():
            if len(column) != n:
                raise DatasetError(f"{self.name}: {n} runs with {len(column)} values of {name}")
        for index, run in enumerate(self.runs):
            if run.values.shape != (len(run.times_s), len(self.variables)):
                raise DatasetError(
                    f"{self.name}: run {index} has values {run.values.shape} for"
                    f" {len(run.times_s)} samples of {len(self.variables)} variables"
                )

    def __len__(self) -> int:
        return len(self.runs)

    def subset(self, rows: npt.NDArray[Any], part: str | None = None) -> "TraceSet":
        """The runs of these rows (indices or a mask), in their order."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            runs=tuple(self.runs[i] for i in chosen),
            group=self.group[chosen],
            order=self.order[chosen],
            context={name: column[chosen] for name, column in self.context.items()},
            target=self.target[chosen],
            fault=tuple(self.fault[i] for i in chosen),
            part=self.part if part is None else part,
        )

    def in_time(self) -> "TraceSet":
        """The same runs, earliest first."""
        return self.subset(np.argsort(self.order, kind="stable"))

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything in it but its name."""
        digest = hashlib.sha256("\0".join(self.variables).encode())
        for run in self.runs:
            for array in (run.values, run.times_s, run.step):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        for name in sorted(self.context):
            digest.update(f"{name}={self.context[name].tolist()}".encode())
        for column in (self.group.tolist(), self.order.tolist(), self.target.tolist(), self.fault):
            digest.update(repr(column).encode())
        return digest.hexdigest()


def check_part(path: Path, part: str | None, parts: Sequence[str], default: str) -> str:
    """The part that was asked for, if there is one of that name.

    Raises:
        DatasetError: there is none; the message names those there are.
    """
    chosen = default if part is None else part
    if chosen not in parts:
        raise DatasetError(f"{path} has no part {chosen!r}; it has {', '.join(parts)}")
    return chosen
