"""What a run looks like to fault detection: level, spread and settling of each variable and step.

One definition for training and evaluation. All of it is robust to what sensors do:

| a sensor or trace | what happens |
|---|---|
| late: the first samples of the first step are missing | no settling and no duration there |
| a step cut short: under 40 % of its usual samples | the step is not judged |
| gaps: single samples are missing | no settling where the gap is; the rest as usual |
| missing: over half of a variable's samples in a step | the variable is not judged there |
| stuck: one value all along, where it usually moves | named as stuck; not judged there |
| coarse: its reading's steps exceed its noise | its level may move by rounding (`floors`) |

Not judged means NaN, which the detector takes as "nothing known" and not as "normal".
"""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "DURATION",
    "ENOUGH",
    "ONE_STEP",
    "Feature",
    "Layout",
    "StepLayout",
    "Trouble",
    "about_a_line",
    "main_part",
    "measure",
]

DURATION = "Time"
"""What a step's duration is called among variables."""
ONE_STEP = 0
"""The step of every sample where a set names none."""
ENOUGH = 0.4
"""Share of its usual samples that a step needs to be judged."""

# Samples at the start of a step in which set points are reached, and at its end, as shares.
_SETTLING, _ENDING = 0.1, 0.04
_COMPLETE = 0.8
# Levels are means without the tenth of the samples at either end: one spike does not move them.
_TRIM = 0.1

Floats = npt.NDArray[np.float64]


class Feature(NamedTuple):
    """One number about a run: a statistic of a variable in a recipe step."""

    variable: str
    step: int
    statistic: str


class Trouble(NamedTuple):
    """A sensor or trace that cannot be judged as usual."""

    kind: str  # late, short, missing, stuck
    step: int
    variable: str = ""


class StepLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe step: its number, its usual samples, and each variable's usual noise there."""

    step: int
    samples: int
    noise: tuple[float, ...]


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How features are computed, learned from normal runs.

    Attributes:
        variables: V names.
        resolution: (V,) the smallest step of each reading, 0 where it has none.
        steps: of the recipe, in order.
    """

    variables: tuple[str, ...]
    resolution: tuple[float, ...]
    steps: tuple[StepLayout, ...]

    @property
    def by_step(self) -> bool:
        """Whether runs are cut into recipe steps; else each is looked at as one."""
        return any(part.step != ONE_STEP for part in self.steps)

    def features(self) -> tuple[Feature, ...]:
        """P features in the order of `measure`."""
        return tuple(
            Feature(variable, step.step, statistic)
            for step in self.steps
            for variable, statistics in (
                *((name, ("level", "spread", "settling")) for name in self.variables),
                (DURATION, ("duration",)),
            )
            for statistic in statistics
        )

    def floors(self) -> Floats:
        """(P,) below which a feature's standard deviation is not believed.

        A reading in steps of q with noise s has a mean that is wrong by up to
        q/pi exp(-2 pi^2 s^2/q^2) (B. Widrow and I. Kollar, Quantization Noise, 2008, ch. 5): where
        the noise is small, levels jump when the true value crosses the middle of a step.
        """
        found = []
        for step in self.steps:
            for q, noise in zip(self.resolution, step.noise, strict=True):
                ratio = noise / q if q > 0 else np.inf
                rounding = q / (np.pi * np.sqrt(2)) * np.exp(-2.0 * np.pi**2 * ratio**2)
                level = max(rounding, 0.02 * q, 1e-9)
                found += [level, 0.1, level]
            found.append(0.5)
        return np.array(found)


def measure(
    layout: Layout,
    values: npt.NDArray[np.float32],
    times_s: Floats,
    step: npt.NDArray[np.int64] | None,
) -> tuple[Floats, tuple[Trouble, ...]]:
    """The features (P,) of a run, NaN where it cannot be judged, and why it cannot.

    Args:
        layout: of the model.
        values: (T, V) in the order of the layout's variables, NaN where a sample is missing.
        times_s: (T,), never falling.
        step: (T,) recipe step of each sample; None where there is none, and all are of one.
    """
    numbers = np.full(len(values), ONE_STEP, dtype=np.int64) if step is None else step
    found: list[Floats] = []
    troubles: list[Trouble] = []
    resolution = np.array(layout.resolution)
    for place, part in enumerate(layout.steps):
        rows = numbers == part.step
        of_step = values[rows].astype(np.float64)
        if len(of_step) < ENOUGH * part.samples:
            troubles.append(Trouble("short", part.step))
            found.append(np.full(3 * len(resolution) + 1, np.nan))
            continue
        late = place == 0 and len(of_step) < _COMPLETE * part.samples
        if late:
            troubles.append(Trouble("late", part.step))
        three = _three(of_step, part, resolution)
        if late:
            three[:, 2] = np.nan
        for kind, bad in (
            ("missing", np.isnan(of_step).mean(axis=0) > 0.5),
            ("stuck", _stuck(of_step, part, resolution)),
        ):
            three[bad] = np.nan
            troubles += [Trouble(kind, part.step, layout.variables[v]) for v in np.flatnonzero(bad)]
        times = times_s[rows]
        duration = np.nan if late else float(times[-1] - times[0])
        found += [three.ravel(), np.array([duration])]
    return np.concatenate(found), tuple(troubles)


def _three(values: Floats, step: StepLayout, resolution: Floats) -> Floats:
    """(V, 3): level, spread and settling of each variable in a step."""
    first, inner = main_part(values, step.samples)
    level = _trimmed_mean(inner)
    # A coarse reading that stays in its step has no spread to take the logarithm of.
    spread = 0.5 * np.log(about_a_line(inner) ** 2 + resolution**2 + 1e-18)
    # What settles changes from sample to sample: without one of them the mean is another one.
    return np.stack([level, spread, first.mean(axis=0) - level], axis=1)


def main_part(values: Floats, usual: int) -> tuple[Floats, Floats]:
    """A step's samples in which set points are reached, and those between its ends."""
    settling, ending = max(1, round(_SETTLING * usual)), round(_ENDING * usual)
    return values[:settling], values[settling : len(values) - ending]


def about_a_line(values: Floats) -> Floats:
    """(V,) root mean square about the straight line through (T, V); NaN samples left out."""
    there = ~np.isnan(values)
    n = np.maximum(there.sum(axis=0), 1)
    filled = np.where(there, values, 0.0)
    t = np.linspace(-1.0, 1.0, len(values))[:, np.newaxis]
    t = np.where(there, t - (t * there).sum(axis=0) / n, 0.0)
    y = np.where(there, values - filled.sum(axis=0) / n, 0.0)
    slope = (t * y).sum(axis=0) / np.maximum((t**2).sum(axis=0), 1e-12)
    found: Floats = np.sqrt(((y - slope * t) ** 2).sum(axis=0) / n)
    return found


def _trimmed_mean(values: Floats) -> Floats:
    """(V,) mean without the lowest and highest tenth; NaN where there is nothing."""
    ordered = np.sort(values, axis=0)  # NaN last
    n = (~np.isnan(values)).sum(axis=0)
    cut = (_TRIM * n).astype(np.int64)
    place = np.arange(len(values))[:, np.newaxis]
    kept = (place >= cut) & (place < n - cut)
    total = np.where(kept, ordered, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(kept.sum(axis=0), 1), np.nan)


def _stuck(values: Floats, step: StepLayout, resolution: Floats) -> npt.NDArray[np.bool_]:
    """Variables that show one value all along though they usually move by more than rounding."""
    there = ~np.isnan(values)
    low = np.where(there, values, np.inf).min(axis=0)
    high = np.where(there, values, -np.inf).max(axis=0)
    usual = np.array(step.noise)
    found: npt.NDArray[np.bool_] = (low == high) & (usual > np.maximum(0.5 * resolution, 1e-9))
    return found
