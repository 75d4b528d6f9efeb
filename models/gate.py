"""Whether a challenger may take the champion's place: numbers in, a decision with its reasons out.

Nothing here loads a model or asks a registry; `fabpilot.map_gate` and
`fabpilot.trace_gate` gather the numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from contracts.model_file import missing_patterns
from models.paired import Answers, macro_f1, paired_interval

__all__ = [
    "Candidate",
    "Check",
    "GateDecision",
    "decided",
    "pass_gate",
    "refused",
]

# A probability may be off by so much on the golden batch: what serving, too, grants other hardware.
_PARITY = 0.02
# What the design asks of every model: said 90 %, it is right in 88 to 92 % of the cases.
_ECE = 0.02
# Macro-F1 below this loss is what another seed does to the same recipe (docs/models.md).
_EQUAL = 0.005
# Below this, a gain in speed is not worth a swap, and drowns in what other processes do.
_FASTER = 1.2
# Under a perturbation two runs of one recipe differ more than on clean maps: by 1.5 points was
# measured, turned maps, where they differed by 0.1 on clean ones (docs/models.md).
_ROBUST = 0.02
# What quantisation may cost against the model's own fp32 file.
_INT8 = 0.003
# Share of the held-out maps of a new pattern that must be recognised for it to be worth a swap.
_RECOGNISED = 0.8
# What any pattern known before may lose of its maps in return, and a loss that chance explains with
# this probability is none: two maps of forty are five points.
_FORGOTTEN, _CHANCE = 0.01, 0.05


@dataclass(frozen=True)
class Candidate:
    """What one model shows on the frozen hold-out of N maps and C classes.

    Attributes:
        labels: what it can name, as its card says.
        answers: (N, C) uint8 of 0 and 1, columns as those of the truth.
        ece: expected calibration error there.
        latency_ms: of a single map, beside the other model on the same machine.
        parity: largest difference of a probability on its golden batch from what it gave when it
            was exported.
        robustness: perturbation to macro-F1 on the hold-out perturbed so.
        int8_loss: macro-F1 a quantised file lost against its own fp32 file; None if it is fp32,
            NaN if nobody measured it.
    """

    labels: Sequence[str]
    answers: Answers
    ece: float
    latency_ms: float
    parity: float
    robustness: Mapping[str, float] = field(default_factory=dict)
    int8_loss: float | None = None


@dataclass(frozen=True)
class Check:
    """One line of a decision.

    Attributes:
        value: what was found.
        limit: what it is held against; None where there is none.
        sentence: the same in words, with units.
        number: from 1, in the order of the decision.
    """

    name: str
    value: float
    limit: float | None
    passed: bool
    sentence: str
    number: int = 0


@dataclass(frozen=True)
class GateDecision:
    """What the gate says, and why.

    Attributes:
        passed: every check is.
        reason: one sentence: what failed, or why it may serve.
        maps: N of the hold-out; runs where a model of traces was judged.
        challenger_macro_f1: over the classes that the hold-out shows, as the two below; None for a
            file that cannot be loaded, and for models of traces.
        champion_macro_f1: None without a champion.
        interval: of challenger minus champion, 95 %.
    """

    passed: bool
    reason: str
    checks: tuple[Check, ...]
    maps: int = 0
    challenger_macro_f1: float | None = None
    champion_macro_f1: float | None = None
    interval: tuple[float, float] | None = None


def pass_gate(
    truth: Answers,
    groups: npt.NDArray[np.integer[Any]],
    challenger: Candidate,
    champion: Candidate | None,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> GateDecision:
    """Decide.

    A challenger passes if its file does what it did when it was exported, it names every pattern
    that the champion names, it is better on the hold-out beyond the interval, or equal and faster,
    it is calibrated, and it bears perturbations. Without a champion nothing is compared.

    One that was taught a pattern which the champion cannot name need be neither better nor faster:
    it must recognise the new one and not have forgotten any other.

    Args:
        truth: (N, C) uint8 of 0 and 1.
        groups: (N,) what was drawn together (lots), for the interval.
        challenger: judged on these very maps.
        champion: likewise; None if nothing serves yet.
        classes: names of the C columns, to tell new patterns from known ones.
        seed: of the bootstrap.
    """
    f1 = macro_f1(truth, challenger.answers)
    checks = [_parity(challenger)]
    if champion is None:
        checks += [_calibrated(challenger, None), *_quantised(challenger)]
        return _decision(checks, "nothing serves yet", len(truth), f1)
    interval = paired_interval(truth, champion.answers, challenger.answers, groups, seed=seed)
    before = macro_f1(truth, champion.answers)
    better = interval[0] > 0.0
    learned = _learned(truth, challenger, champion, classes)
    checks += [
        _labels(challenger, champion),
        _quality(f1, before, interval, len(truth), needed=not learned),
        _speed(challenger, champion, needed=not better and not learned),
        *learned,
        _calibrated(challenger, champion),
        *_robust(challenger, champion),
        *_quantised(challenger),
    ]
    why = "it is better than the champion" if better else "it is as good and faster"
    if learned and not better:
        why = "it recognises a new pattern and has forgotten none"
    return _decision(checks, why, len(truth), f1, before, interval)


def refused(name: str, sentence: str, decision: GateDecision | None = None) -> GateDecision:
    """A decision against a challenger for a reason that no number shows.

    Args:
        name: of the check that failed.
        sentence: why.
        decision: what the other checks said; None if the challenger could not even be judged.
    """
    failed = Check(name, 1.0, 0.0, False, sentence)
    if decision is None:
        return _decision([failed], "", 0, None)
    return _decision(
        [*decision.checks, failed],
        "",
        decision.maps,
        decision.challenger_macro_f1,
        decision.champion_macro_f1,
        decision.interval,
    )


def decided(checks: Sequence[Check], *, runs: int) -> GateDecision:
    """A decision of a trace model, from its checks alone.

    Args:
        checks: all of them.
        runs: it was judged on.
    """
    return _decision(checks, checks[-1].sentence, runs, None)


def _decision(
    checks: Sequence[Check],
    why: str,
    maps: int,
    f1: float | None,
    before: float | None = None,
    interval: tuple[float, float] | None = None,
) -> GateDecision:
    failed = [check.sentence for check in checks if not check.passed]
    return GateDecision(
        passed=not failed,
        reason="; ".join(failed) or f"it passes every check: {why}",
        checks=tuple(replace(check, number=number) for number, check in enumerate(checks, 1)),
        maps=maps,
        challenger_macro_f1=f1,
        champion_macro_f1=before,
        interval=interval,
    )


def _parity(challenger: Candidate) -> Check:
    off = challenger.parity
    # A NaN compares false with everything; ask for what must hold.
    return Check(
        "parity",
        off,
        _PARITY,
        off <= _PARITY,
        f"on its golden batch probabilities are off by {off:.2g} (at most {_PARITY:g})",
    )


def _labels(challenger: Candidate, champion: Candidate) -> Check:
    missing = missing_patterns(challenger.labels, champion.labels)
    sentence = "it names every pattern that the champion names"
    if missing:
        sentence = f"it cannot name {', '.join(missing)}, which the champion names"
    return Check("labels", len(missing), 0, not missing, sentence)


def _quality(
    f1: float, before: float, interval: tuple[float, float], maps: int, *, needed: bool
) -> Check:
    """The lower end of the interval, held against 0 or against the loss that is still equal."""
    low, high = interval
    said = (
        f"macro-F1 {f1:.3f} against {before:.3f} on {maps:,} maps,"
        f" {100 * (f1 - before):+.2f} points (95 %: {100 * low:+.2f} to {100 * high:+.2f})"
    )
    if low > 0.0:
        return Check("macro_f1", low, 0.0, True, f"{said}: better")
    if high < 0.0:
        return Check("macro_f1", low, 0.0, False, f"{said}: worse")
    if not needed:
        return Check("macro_f1", low, None, True, f"{said} (it names more, so no gain is needed)")
    # An interval around 0 proves nothing where it is wide: a loss must be ruled out as well.
    equal = low > -_EQUAL
    verdict = f"no gain shown, and a loss of {100 * _EQUAL:g} points not ruled out"
    if equal:
        verdict = "as good, so it must be faster"
    return Check("macro_f1", low, -_EQUAL, equal, f"{said}: {verdict}")


def _speed(challenger: Candidate, champion: Candidate, *, needed: bool) -> Check:
    ratio = champion.latency_ms / challenger.latency_ms
    said = (
        f"{challenger.latency_ms:.2f} ms a map against {champion.latency_ms:.2f} ms:"
        f" {ratio:.2f} times as fast"
    )
    if not needed:
        return Check("speed", ratio, None, True, f"{said} (it gains, so any speed will do)")
    return Check("speed", ratio, _FASTER, ratio >= _FASTER, f"{said} (at least {_FASTER:g})")


def _learned(
    truth: Answers, challenger: Candidate, champion: Candidate, classes: Sequence[str]
) -> list[Check]:
    """Whether new patterns are recognised and the others not forgotten; none without new ones.

    The champion errs on every map of a new pattern, whatever it says, so its macro-F1 is low and
    the gain large; both hide what the challenger lost elsewhere. Therefore class by class.
    """
    shown = [column for column, name in enumerate(classes) if truth[:, column].any()]
    new = [
        column
        for column in shown
        if classes[column] in challenger.labels and classes[column] not in champion.labels
    ]
    # For mixed patterns 'None' is no column, and no model lacks it.
    new = [column for column in new if classes[column] != "None"]
    if not new:
        return []
    lines = []
    for column in new:
        maps = truth[:, column] == 1
        share = float(challenger.answers[maps, column].mean())
        said = f"the new {classes[column]} is recognised on {share:.0%} of {maps.sum():,} maps"
        lines.append(
            Check(
                f"new pattern: {classes[column]}",
                share,
                _RECOGNISED,
                share >= _RECOGNISED,
                f"{said} (at least {_RECOGNISED:.0%}; more labels would help)",
            )
        )
    known = [
        _remembered(
            classes[column],
            champion.answers[truth[:, column] == 1, column] == 1,
            challenger.answers[truth[:, column] == 1, column] == 1,
        )
        for column in shown
        if column not in new
    ]
    failed = [check for check in known if not check.passed]
    worst = max(known, key=lambda check: check.value, default=None)
    return lines + (failed or ([worst] if worst is not None else []))


def _remembered(name: str, before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Check:
    """Whether the maps (n,) of a known pattern are recognised as well as before.

    Whether chance explains a loss is said by the exact one-sided sign test on the maps about which
    the two differ (McNemar, Psychometrika 12, 1947).
    """
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    share = (lost - won) / len(before)
    by_chance = float(binom.cdf(won, lost + won, 0.5))
    return Check(
        f"known pattern: {name}",
        share,
        _FORGOTTEN,
        share <= _FORGOTTEN or by_chance > _CHANCE,
        f"{name} loses {lost} and wins {won} of {len(before):,} maps"
        f" (at most {100 * _FORGOTTEN:g} point less, or what chance explains)",
    )


def _calibrated(challenger: Candidate, champion: Candidate | None) -> Check:
    limit = _ECE if champion is None else max(_ECE, champion.ece)
    whose = f"at most {limit:.3f}" + (", the champion's" if limit > _ECE else "")
    return Check(
        "calibration",
        challenger.ece,
        limit,
        challenger.ece <= limit,
        f"calibration error {challenger.ece:.3f} ({whose})",
    )


def _robust(challenger: Candidate, champion: Candidate) -> list[Check]:
    lines = []
    for name, f1 in challenger.robustness.items():
        before = champion.robustness[name]
        lines.append(
            Check(
                f"robustness: {name}",
                f1,
                before - _ROBUST,
                f1 >= before - _ROBUST,
                f"with {name} macro-F1 {f1:.3f} against {before:.3f}"
                f" (at most {100 * _ROBUST:g} points less)",
            )
        )
    return lines


def _quantised(challenger: Candidate) -> list[Check]:
    loss = challenger.int8_loss
    if loss is None:
        return []
    said = f"quantised, it loses {100 * loss:.2f} points of macro-F1 against its own fp32 file"
    if np.isnan(loss):
        said = "it is quantised, and nothing says what that cost against its own fp32 file"
    # NaN fails: what nobody measured may not serve.
    return [Check("int8", loss, _INT8, loss <= _INT8, f"{said} (at most {100 * _INT8:g} points)")]
