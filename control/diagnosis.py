"""Which failure mode is it? Bayes' rule over the site's list, the sensors themselves, and the rest.

A mode foretells which variables of a module move together, in which direction and in which
proportion; how far depends on how much it has grown. So each mode is compared at every severity
that it may have, a lone sensor that moves without its companions is a sensor's fault, and several
that fit no mode are something else. Wafer maps and metrology then speak for or against.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.events import Cause
from control.failure_modes import FailureMode

__all__ = ["OTHER", "SENSOR", "Diagnosis", "Evidence", "diagnose", "real_share"]

SENSOR, OTHER = "sensor_fault", ""
"""Causes that are no failure mode: a sensor that lies, and what is in nobody's list."""

# Growth times magnitude: from what is just worth a stop to twice what the list says.
SEVERITIES = np.geomspace(0.2, 2.5, 16)
# A module's own ageing and what maintenance leaves, in wafer-to-wafer spreads; and how much the
# proportions of a signature differ from one case to the next.
_AGEING, _UNLIKE = 0.5, 0.2
# A lone sensor, or something else, may be this far off: they say nothing about how far.
_ANYWHERE = 6.0
# A variable takes part in something that is on no list with this probability.
_TAKES_PART = 0.2
# Before any evidence. Sensors fail more often than modules do; but few of them by a steady shift.
_PRIOR = {"mode": 0.5, SENSOR: 0.1, OTHER: 0.05, "chance": 0.35}
# A pattern of the mode on a wafer map, and any other, given the mode.
_ITS_PATTERN, _NO_PATTERN = 0.85, 0.02
_PATTERNS = 8
# Readings that became unsteady: if a sensor fails, and otherwise.
_UNSTEADY_SENSOR, _UNSTEADY = 0.3, 0.005
# Spread of what metrology finds beyond wafer-to-wafer: the module's matching, and drift.
_MATCHING = 0.5
SHOWN = 5

Floats = npt.NDArray[np.float64]


class Evidence(NamedTuple):
    """What is known about a module that is suspected.

    Attributes:
        module: 'equipment/module'.
        kind: of the equipment; '' if it never said so.
        moved: variable to the recent shift of its level, in wafer-to-wafer spreads; all that are
            charted, moved or not.
        wafers: that those shifts rest on: enough that an average of them is nearly normal.
        unsteady: variables whose spread within a wafer grew, which sensors do by themselves.
        pattern: on wafer maps; '' for none yet.
        measured: shift of what metrology read since the excursion began, in spreads, or None.
        measured_wafers: that it rests on; `defects` and its wafers the same for the defect density.
    """

    module: str
    kind: str
    moved: Mapping[str, float]
    wafers: float = 9.0
    unsteady: tuple[str, ...] = ()
    pattern: str = ""
    measured: float | None = None
    measured_wafers: int = 0
    defects: float | None = None
    defect_wafers: int = 0


class Diagnosis(NamedTuple):
    """What it may be.

    Attributes:
        causes: the most probable first.
        chance: probability that nothing is wrong at all.
        severity: growth times magnitude of the first cause, if it is a mode; else 0.
    """

    causes: tuple[Cause, ...]
    chance: float
    severity: float

    @property
    def real(self) -> float:
        """Probability that the process, and not a sensor or chance, is at fault."""
        return real_share(self.causes)


def real_share(causes: tuple[Cause, ...]) -> float:
    """Probability that the process is at fault, by a mode of the list or by something else."""
    return sum(cause.probability for cause in causes if cause.mode != SENSOR)


def diagnose(evidence: Evidence, modes: Mapping[str, FailureMode]) -> Diagnosis:
    """Weigh everything that may be behind what was seen on a module.

    Args:
        evidence: of one module.
        modes: the site's list; those of other kinds of equipment are left out.
    """
    names = sorted(evidence.moved)
    z = np.array([evidence.moved[name] for name in names])
    z = np.clip(np.nan_to_num(z), -60.0, 60.0)
    # EWMA of weight 0.2: 1/9 of a wafer's variance in the long run.
    noise = 1.0 / max(1.0, evidence.wafers) + _AGEING**2
    fitting = {
        name: mode
        for name, mode in modes.items()
        if not evidence.kind or evidence.kind in mode.kinds
    }
    total = sum(mode.occurrence for mode in fitting.values()) or 1.0
    weights: dict[str, float] = {}
    severity: dict[str, float] = {}
    for name, mode in fitting.items():
        seen, grown = _mode_density(mode, names, z, noise, evidence)
        prior = _PRIOR["mode"] * mode.occurrence / total
        weights[name] = math.log(prior) + seen + _on_maps(mode.patterns, evidence.pattern)
        severity[name] = grown
    none = _measured_density(0.0, 0.0, evidence)
    unknown_pattern = _on_maps((), evidence.pattern)
    weights[SENSOR] = math.log(_PRIOR[SENSOR]) + _lone(z, noise, names, evidence.unsteady) + none
    weights[OTHER] = math.log(_PRIOR[OTHER]) + _several(z, noise)
    weights[OTHER] += _anything_measured(evidence) + unknown_pattern
    if evidence.unsteady:
        # Readings that jump within a wafer are what sensors do that fail, and no failure mode.
        weights = {name: weight + math.log(_UNSTEADY) for name, weight in weights.items()}
        weights[SENSOR] += math.log(_UNSTEADY_SENSOR / _UNSTEADY)
        weights["chance"] = math.log(_UNSTEADY)
    else:
        weights["chance"] = 0.0
    # A sensor that lies leaves no pattern: one on the maps is then a coincidence.
    weights[SENSOR] += math.log(_NO_PATTERN) if evidence.pattern else 0.0
    weights["chance"] += math.log(_PRIOR["chance"]) + float(_log_normal(z, 0.0, noise).sum()) + none
    weights["chance"] += math.log(_NO_PATTERN) if evidence.pattern else 0.0
    top = max(weights.values())
    shares = {name: math.exp(weight - top) for name, weight in weights.items()}
    whole = sum(shares.values())
    chance = shares.pop("chance") / whole
    ranked = sorted(shares, key=lambda name: (-shares[name], name))[:SHOWN]
    causes = tuple(
        Cause(
            module=evidence.module,
            mode=name,
            probability=round(shares[name] / whole, 4),
            evidence=_words(name, fitting.get(name), evidence),
        )
        for name in ranked
        if shares[name] / whole >= 0.005
    )
    first = causes[0].mode if causes else ""
    return Diagnosis(causes, chance, severity.get(first, 0.0))


def _log_normal(x: Floats, mean: Floats | float, variance: Floats | float) -> Floats:
    found = -0.5 * ((x - mean) ** 2 / variance + np.log(2.0 * math.pi * np.asarray(variance)))
    return np.asarray(found)


def _mode_density(
    mode: FailureMode, names: list[str], z: Floats, noise: float, evidence: Evidence
) -> tuple[float, float]:
    """Log density of the evidence under a mode, averaged over its severity; and the likeliest."""
    signature = np.array([mode.signature.get(name, 0.0) for name in names])
    expected = SEVERITIES[:, None] * signature
    variance = noise + (_UNLIKE * expected) ** 2
    if len(names):
        density = _log_normal(z, expected, variance).sum(axis=1)
    else:
        density = np.zeros(len(SEVERITIES))
    density = density + np.array(
        [_measured_density(s * mode.measured, s * mode.defects, evidence) for s in SEVERITIES]
    )
    best = int(np.argmax(density))
    top = float(density[best])
    averaged = top + math.log(float(np.mean(np.exp(density - top))))
    return averaged, float(SEVERITIES[best])


def _measured_density(value: float, defects: float, evidence: Evidence) -> float:
    """Log density of what metrology found, if shifts of this size are to be expected."""
    found = 0.0
    for seen, expected, wafers in (
        (evidence.measured, value, evidence.measured_wafers),
        (evidence.defects, defects, evidence.defect_wafers),
    ):
        if seen is not None and wafers > 0:
            variance = 1.0 / wafers + _MATCHING**2 + (_UNLIKE * expected) ** 2
            found -= 0.5 * ((seen - expected) ** 2 / variance + math.log(2.0 * math.pi * variance))
    return found


def _anything_measured(evidence: Evidence) -> float:
    """The same where any shift may come."""
    found = 0.0
    for seen, wafers in (
        (evidence.measured, evidence.measured_wafers),
        (evidence.defects, evidence.defect_wafers),
    ):
        if seen is not None and wafers > 0:
            variance = 1.0 / wafers + 3.0**2
            found -= 0.5 * (seen**2 / variance + math.log(2.0 * math.pi * variance))
    return found


def _lone(z: Floats, noise: float, names: list[str], unsteady: tuple[str, ...]) -> float:
    """Log density if one sensor lies, whichever, and all others are well."""
    if not len(z):
        return 0.0
    well = _log_normal(z, 0.0, noise)
    rest = well.sum() - well
    # One that became unsteady has given itself away.
    chosen = np.array([4.0 if name in unsteady else 1.0 for name in names])
    lies = np.log(chosen / len(z)) + rest + _log_normal(z, 0.0, noise + _ANYWHERE**2)
    top = float(lies.max())
    return top + math.log(float(np.exp(lies - top).sum()))


def _several(z: Floats, noise: float) -> float:
    """Log density if several variables moved that no mode moves together."""
    well = math.log(1.0 - _TAKES_PART) + _log_normal(z, 0.0, noise)
    off = math.log(_TAKES_PART) + _log_normal(z, 0.0, noise + _ANYWHERE**2)
    return float(np.logaddexp(well, off).sum())


def _on_maps(patterns: tuple[str, ...], seen: str) -> float:
    """Log probability of the pattern that was seen on the maps, if any was."""
    if not seen:
        return 0.0
    if not patterns:
        return math.log(1.0 / _PATTERNS)
    return math.log(_ITS_PATTERN / len(patterns) if seen in patterns else _NO_PATTERN)


def _words(name: str, mode: FailureMode | None, evidence: Evidence) -> tuple[str, ...]:
    """What speaks for a cause, and what against it, for people."""
    said: list[str] = []
    ranked = sorted(evidence.moved.items(), key=lambda item: (-abs(item[1]), item[0]))
    if mode is None:
        shown = [(variable, shift) for variable, shift in ranked[:3] if abs(shift) >= 1.0]
        said += [f"{variable} {shift:+.1f}σ" for variable, shift in shown]
        if name == SENSOR and shown:
            said.append("nothing that should move with it does")
    else:
        for variable, full in mode.signature.items():
            if variable in evidence.moved:
                said.append(
                    f"{variable} {evidence.moved[variable]:+.1f}σ, {full:+g}σ at full growth"
                )
    if evidence.pattern:
        fits = mode is not None and evidence.pattern in mode.patterns
        said.append(f"{evidence.pattern} on the maps, {'as' if fits else 'not as'} it makes")
    if evidence.measured is not None:
        said.append(f"measured {evidence.measured:+.1f}σ on {evidence.measured_wafers} wafers")
    if evidence.defects is not None:
        said.append(f"defect density {evidence.defects:+.1f}σ on {evidence.defect_wafers} wafers")
    return tuple(said)
