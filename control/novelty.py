"""Unknown patterns: do wafers turn up that are unlike anything the model learned?

One known wafer in a hundred is beyond the limit by its own definition, so one says nothing. Tested
wafers of the site are a row of novel and known ones, and the Bernoulli CUSUM that finds excursions
(`control.excursion`) finds the stretch in which too many are novel.
"""

from collections.abc import Sequence
from math import log

from contracts.events import NOVELTY_LIMIT, Prediction
from control.excursion import at_most, bernoulli_cusum
from control.policy import Detection
from control.state import TestedWafer

__all__ = ["WINDOW", "is_novel", "is_rare_again", "novel_stretch"]

WINDOW = 200
"""Tested wafers that are looked back over."""
# Twice what the limit promises: a fab's wafers are not the lots it was set on.
USUAL_RATE = 0.02
# Share of novel wafers once a new pattern is about, as the chart assumes it.
SICK_RATE = 0.2
# It is over when the latest wafers, of at most so many, would be this unlikely otherwise.
CLEAN_AMONG, STILL_GOING_ON = 60, 0.001


def is_novel(event: Prediction) -> bool | None:
    """Whether a wafer is unlike all that the model learned; None if the model does not say."""
    return None if event.novelty is None else event.novelty >= NOVELTY_LIMIT


def novel_stretch(tested: Sequence[TestedWafer], detection: Detection) -> slice | None:
    """The stretch of `tested` in which too many wafers are novel for chance, or None.

    Its limit makes at most one false alert in `wafers_per_false_alert` tested wafers (Lorden's
    bound; with a share of `USUAL_RATE` novel among known patterns).
    """
    run = bernoulli_cusum([wafer.novel for wafer in tested], USUAL_RATE, SICK_RATE)
    novel = sum(wafer.novel for wafer in tested[run.start : run.stop])
    if run.score < log(detection.wafers_per_false_alert) or novel < detection.min_bad_wafers:
        return None
    return slice(run.start, run.stop)


def is_rare_again(tested: Sequence[TestedWafer], since: int) -> bool:
    """Whether so few of the latest wafers are novel that the pattern cannot be about any more.

    Args:
        tested: in order.
        since: how many of them were tested since the pattern turned up.
    """
    novel = 0
    for number, wafer in enumerate(tested[-min(since, CLEAN_AMONG) :][::-1], 1):
        novel += wafer.novel
        if at_most(novel, number, SICK_RATE) <= STILL_GOING_ON:
            return True
    return False
