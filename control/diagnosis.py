"""Which failure mode is it? Bayes' rule over the site's list, the sensors themselves, and the rest.

A mode foretells which variables of a module move together, in which direction and in which
proportion; how far depends on how much it has grown. So each mode is compared at every severity
that it may have, a lone sensor that moves without its companions is a sensor's fault, and several
that fit no mode are something else. Two modes may be at work at once, and a sensor may lie beside
a mode. Wafer maps and metrology then speak for or against.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.events import Cause
from control.failure_modes import FailureMode

__all__ = ["OTHER", "SENSOR", "Diagnosis", "Evidence", "diagnose"]

SENSOR, OTHER = "sensor_fault", ""
"""Causes that are no failure mode: a sensor that lies, and what is in nobody's list."""

# Growth times magnitude at most, and where a mode moves no variable at least.
_MOST, _LEAST, _SEVERITIES = 2.5, 0.2, 16
# Where two modes are at work, each at so many: their products are what is compared.
_OF_TWO = 8
# A mode is worth a look beside another one where a variable is so many standard deviations off.
_SPEAKS = 2.0
# What has just begun: the variable that moves most is so many spreads off, which the charts hardly
# see. A mode that moves something by twenty spreads is seen long before it has grown.
_BEGUN = 1.5
# A module's own ageing and what maintenance leaves, in wafer-to-wafer spreads; and how much the
# proportions of a signature differ from one case to the next.
_AGEING, _UNLIKE = 0.5, 0.2
# A lone sensor, or something else, may be this far off: they say nothing about how far.
_ANYWHERE = 6.0
# A variable takes part in something that is on no list with this probability.
_TAKES_PART = 0.2
# Before any evidence. Sensors fail more often than modules do; but few of them by a steady shift.
# Two modes that begin together are rare; a second one while the first goes on is less so.
_PRIOR = {"mode": 0.49, "two": 0.01, SENSOR: 0.1, OTHER: 0.05, "chance": 0.35}
# That one of the module's sensors lies while a mode is at work.
_LIES = 0.03
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
        causes: the most probable first; each with the probability that it is at work, alone or with
            another one.
        chance: probability that nothing is wrong at all.
        severity: growth times magnitude of the first cause, if it is a mode; else 0.
        real: probability that the process, and not a sensor or chance, is at fault.
    """

    causes: tuple[Cause, ...]
    chance: float
    severity: float
    real: float


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
    # What may be behind it all, as the names of the causes at work; nothing for chance.
    weights: dict[tuple[str, ...], float] = {}
    severity: dict[tuple[str, ...], float] = {}
    for name, mode in fitting.items():
        seen, grown = _mode_density(mode, names, z, noise, evidence)
        prior = _PRIOR["mode"] * mode.occurrence / total
        weights[name,] = math.log(prior) + seen + _on_maps(mode.patterns, evidence.pattern)
        severity[name,] = grown
    weights |= _two_at_once(fitting, names, z, noise, evidence)
    none = float(_measured_density(np.zeros(()), np.zeros(()), evidence))
    unknown_pattern = _on_maps((), evidence.pattern)
    weights[SENSOR,] = math.log(_PRIOR[SENSOR]) + _lone(z, noise, names, evidence.unsteady) + none
    weights[OTHER,] = math.log(_PRIOR[OTHER]) + _several(z, noise)
    weights[OTHER,] += _anything_measured(evidence) + unknown_pattern
    if evidence.unsteady:
        # Readings that jump within a wafer are what sensors do that fail, and no failure mode.
        weights = {names: weight + math.log(_UNSTEADY) for names, weight in weights.items()}
        weights[SENSOR,] += math.log(_UNSTEADY_SENSOR / _UNSTEADY)
        weights[()] = math.log(_UNSTEADY)
    else:
        weights[()] = 0.0
    # A sensor that lies leaves no pattern: one on the maps is then a coincidence.
    weights[SENSOR,] += math.log(_NO_PATTERN) if evidence.pattern else 0.0
    weights[()] += math.log(_PRIOR["chance"]) + float(_log_normal(z, 0.0, noise).sum()) + none
    weights[()] += math.log(_NO_PATTERN) if evidence.pattern else 0.0
    top = max(weights.values())
    shares = {at_work: math.exp(weight - top) for at_work, weight in weights.items()}
    whole = sum(shares.values())
    shares = {at_work: share / whole for at_work, share in shares.items()}
    chance, lies = shares[()], shares[SENSOR,]
    alone: dict[str, float] = {}
    for at_work, share in shares.items():
        for name in at_work:
            alone[name] = alone.get(name, 0.0) + share
    ranked = sorted(alone, key=lambda name: (-alone[name], name))[:SHOWN]
    causes = tuple(
        Cause(
            module=evidence.module,
            mode=name,
            probability=round(min(1.0, alone[name]), 4),
            evidence=_words(name, fitting.get(name), evidence),
        )
        for name in ranked
        if alone[name] >= 0.005
    )
    first = causes[0].mode if causes else ""
    return Diagnosis(causes, chance, severity.get((first,), 0.0), max(0.0, 1.0 - chance - lies))


def _log_normal(x: Floats | np.float64, mean: Floats | float, variance: Floats | float) -> Floats:
    found = -0.5 * ((x - mean) ** 2 / variance + np.log(2.0 * math.pi * np.asarray(variance)))
    return np.asarray(found)


def _mode_density(
    mode: FailureMode, names: list[str], z: Floats, noise: float, evidence: Evidence
) -> tuple[float, float]:
    """Log density of the evidence under a mode, averaged over its severity; and the likeliest."""
    signature = np.array([mode.signature.get(name, 0.0) for name in names])
    severities = _severities(mode)
    expected = severities[:, None] * signature
    variance = noise + (_UNLIKE * expected) ** 2
    density = _one_may_lie(z, expected, variance) if len(names) else np.zeros(len(severities))
    density = density + _measured_density(
        severities * mode.measured, severities * mode.defects, evidence
    )
    best = int(np.argmax(density))
    top = float(density[best])
    averaged = top + math.log(float(np.mean(np.exp(density - top))))
    return averaged, float(severities[best])


def _speaks_for(mode: FailureMode, names: list[str], z: Floats, noise: float) -> bool:
    """Whether anything moved the way the mode moves it: the others are not worth a second look."""
    moved = [z[k] * np.sign(mode.signature.get(name, 0.0)) for k, name in enumerate(names)]
    return max(moved, default=0.0) > _SPEAKS * math.sqrt(noise)


def _severities(mode: FailureMode, count: int = _SEVERITIES) -> Floats:
    """How far a mode may have grown, from hardly to be seen to well beyond what the list says."""
    largest = max((abs(shift) for shift in mode.signature.values()), default=0.0)
    least = min(_LEAST, _BEGUN / largest) if largest > 0.0 else _LEAST
    return np.geomspace(least, _MOST, count)


def _one_may_lie(z: Floats, expected: Floats, variance: Floats) -> Floats:
    """Log density (S,) of all variables at S severities; one of them may say anything."""
    each = _log_normal(z, expected, variance)
    told = each.sum(axis=1)
    lies = _log_normal(z, 0.0, variance + _ANYWHERE**2) - each
    one = math.log(_LIES / len(z)) + np.logaddexp.reduce(lies, axis=1)
    return np.asarray(told + np.logaddexp(math.log(1.0 - _LIES), one))


def _two_at_once(
    modes: Mapping[str, FailureMode],
    names: list[str],
    z: Floats,
    noise: float,
    evidence: Evidence,
) -> dict[tuple[str, ...], float]:
    """Log weight of each pair of modes that both move something here, their shifts added up."""
    moving = [name for name, mode in modes.items() if _speaks_for(mode, names, z, noise)]
    pairs = list(combinations(moving, 2))
    if not pairs:
        return {}
    weight = {pair: modes[pair[0]].occurrence * modes[pair[1]].occurrence for pair in pairs}
    total = sum(weight.values())
    grid = {name: _severities(modes[name], _OF_TWO) for name in moving}
    well = _log_normal(z, 0.0, noise)
    found: dict[tuple[str, ...], float] = {}
    for pair in pairs:
        one, two = modes[pair[0]], modes[pair[1]]
        # All others are well, whatever the severity: only these have to be looked at.
        touched = [k for k, v in enumerate(names) if v in one.signature or v in two.signature]
        grown = np.stack(
            [np.repeat(grid[pair[0]], _OF_TWO), np.tile(grid[pair[1]], _OF_TWO)], axis=1
        )
        signature = np.array(
            [[mode.signature.get(names[k], 0.0) for k in touched] for mode in (one, two)]
        )
        shifts = grown[:, :, None] * signature
        variance = noise + ((_UNLIKE * shifts) ** 2).sum(axis=1)
        density = _log_normal(z[touched], shifts.sum(axis=1), variance).sum(axis=1)
        density += well.sum() - well[touched].sum()
        density += _measured_density(
            grown @ np.array([one.measured, two.measured]),
            grown @ np.array([one.defects, two.defects]),
            evidence,
        )
        seen = float(np.logaddexp.reduce(density)) - math.log(len(density))
        prior = _PRIOR["two"] * weight[pair] / total
        patterns = tuple(dict.fromkeys((*one.patterns, *two.patterns)))
        found[pair] = math.log(prior) + seen + _on_maps(patterns, evidence.pattern)
    return found


def _measured_density(value: Floats, defects: Floats, evidence: Evidence) -> Floats:
    """Log density of what metrology found, if shifts of these sizes are to be expected."""
    found = np.zeros(np.shape(value))
    for seen, expected, wafers in (
        (evidence.measured, value, evidence.measured_wafers),
        (evidence.defects, defects, evidence.defect_wafers),
    ):
        if seen is not None and wafers > 0:
            variance = 1.0 / wafers + _MATCHING**2 + (_UNLIKE * expected) ** 2
            found = found + _log_normal(np.float64(seen), expected, variance)
    return found


def _anything_measured(evidence: Evidence) -> float:
    """The same where any shift may come, save fewer defects than ever: nothing wrong does that."""
    found = 0.0
    cleaner = evidence.defects is not None and evidence.defects < 0.0
    for seen, wafers, reach in (
        (evidence.measured, evidence.measured_wafers, 3.0),
        (evidence.defects, evidence.defect_wafers, _MATCHING if cleaner else 3.0),
    ):
        if seen is not None and wafers > 0:
            variance = 1.0 / wafers + reach**2
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
