"""Failure modes: what a site's engineers know about how its modules fail (FMEA).

The knowledge is one YAML file. `failure_modes.yaml` beside this file has the modes of docs/fab.md;
a site names its own in the policy (`failure_modes`). Nothing here is learned from data.
"""

import math
from functools import cache
from pathlib import Path

from contracts.events import ActionKind
from control.policy_file import Section, Wrong, read_struct

__all__ = [
    "Correction",
    "FailureMode",
    "FailureModes",
    "default_failure_modes_path",
    "load_failure_modes",
]


class Correction(Section, frozen=True):
    """A recipe change that makes up for a mode at full growth.

    Attributes:
        parameter: of the recipe.
        change: that cancels it, in the parameter's unit.
    """

    parameter: str
    change: float


class FailureMode(Section, frozen=True):
    """One way for a module to fail.

    Attributes:
        kinds: of equipment it happens on.
        signature: trace variable to its shift at full growth, in wafer-to-wafer spreads.
        patterns: it makes on wafer maps, in WM-811K's names.
        measured: shift of the value that metrology reads after the step, in spreads; 0 for none.
        defects: shift of the logarithm of the defect density after the step, in spreads.
        slots: first and last that can suffer; None where the slot does not matter.
        remedies: kinds of action that end it.
        correction: by the recipe, where one is known.
        occurrence: how often it happens, relative to the others (FMEA's occurrence).
    """

    kinds: tuple[str, ...]
    signature: dict[str, float]
    patterns: tuple[str, ...]
    measured: float = 0.0
    defects: float = 0.0
    slots: tuple[int, int] | None = None
    remedies: tuple[ActionKind, ...] = ("schedule_pm",)
    correction: Correction | None = None
    occurrence: float = 1.0


class FailureModes(Section, frozen=True):
    """The whole file.

    Attributes:
        modes: by name.
    """

    modes: dict[str, FailureMode]

    def of_kind(self, kind: str) -> dict[str, FailureMode]:
        """The modes of one kind of equipment; all of them where the kind is not known."""
        return {name: mode for name, mode in self.modes.items() if not kind or kind in mode.kinds}


def default_failure_modes_path() -> Path:
    """The file shipped with the package."""
    return Path(__file__).with_name("failure_modes.yaml")


@cache
def load_failure_modes(path: Path | None = None) -> FailureModes:
    """Read a file of failure modes; None reads the one shipped with the package.

    Raises:
        ConfigError: as `control.policy_file.read_struct`.
    """
    source = path or default_failure_modes_path()
    return read_struct(source, FailureModes, contradictions, what="file of failure modes")


def contradictions(found: FailureModes) -> list[Wrong]:
    """What is well formed and makes no sense, as (key, reason)."""
    wrong: list[Wrong] = []
    for name, mode in found.modes.items():
        key = ("modes", name)
        shifts = (*mode.signature.values(), mode.measured, mode.defects)
        if not all(math.isfinite(shift) for shift in shifts):
            wrong.append(((*key, "signature"), "shifts must be finite numbers"))
        if not mode.kinds:
            wrong.append(((*key, "kinds"), "name at least one kind of equipment"))
        if not (any(mode.signature.values()) or mode.patterns):
            wrong.append(((*key, "signature"), "needs a variable that moves, or a pattern"))
        if not (math.isfinite(mode.occurrence) and mode.occurrence > 0.0):
            wrong.append(((*key, "occurrence"), f"must be above 0, is {mode.occurrence:g}"))
        if mode.slots is not None and not 1 <= mode.slots[0] <= mode.slots[1]:
            wrong.append(((*key, "slots"), "first and last slot, the first at least 1"))
        if mode.correction is not None and not mode.correction.change:
            wrong.append(((*key, "correction", "change"), "must not be 0"))
    return wrong
