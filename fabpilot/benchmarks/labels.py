"""How many labels does a model need, and what is learning from the synthetic fab first worth?

A network is trained on a share of the labels, once from random weights and once from a network that
has learned synthetic wafers, and judged on the same lots held out. Both get the same time.
"""

from collections.abc import Callable, Sequence

import msgspec

from fabpilot.benchmarks.learning import Scores
from fabpilot.benchmarks.results import Results
from fabpilot.benchmarks.stream import machine
from models.data import MapSet
from models.evaluate import judge
from models.splits import split_blocks
from models.weights import Weights

__all__ = ["LabelsBench", "LabelsRun", "ShareOfLabels", "measure_labels", "share_of_lots"]

SHARES = (0.01, 0.1, 1.0)
# Blocks of lots that make up a share: few, and rare classes come in lumps; many, and they are
# smaller than a lot.
_BLOCKS_A_SHARE = 12
_RESAMPLES = 1_000

Learn = Callable[[MapSet, MapSet, Weights | None], Scores]


class LabelsRun(msgspec.Struct, frozen=True):
    """One network, on the held-out lots."""

    accuracy: float
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    per_class_f1: dict[str, float]
    ece: float


class ShareOfLabels(msgspec.Struct, frozen=True):
    """Networks that saw the same share of the labels.

    Attributes:
        share: of the labels.
        maps: how many those are.
        classes: of them, by class.
        scratch: from random weights.
        pretrained: from a network that learned synthetic wafers.
        gain_points: of macro-F1, pretrained - scratch, in hundredths.
    """

    share: float
    maps: int
    classes: dict[str, int]
    scratch: LabelsRun
    pretrained: LabelsRun
    gain_points: float


class LabelsBench(msgspec.Struct, frozen=True):
    """All shares, smallest first; `budget_s` is of one training, `pretrain_s` of the first one."""

    data: str
    pretrained_on: str
    holdout_maps: int
    shares: list[ShareOfLabels]
    resumed: int
    budget_s: float
    pretrain_s: float
    seed: int
    machine: str


def share_of_lots(maps: MapSet, share: float, seed: int) -> MapSet:
    """A share of the maps as an engineer would have labelled them: whole lots, rare classes too.

    Args:
        maps: all.
        share: 0 to 1.
        seed: decides which lots.
    """
    if share >= 1.0:
        return maps
    blocks = round(_BLOCKS_A_SHARE / share)
    return split_blocks(maps, holdout=share, seed=seed, blocks=blocks)[1]


def measure_labels(
    learning: MapSet,
    holdout: MapSet,
    pretrain: Callable[[], Weights],
    learn: Learn,
    results: Results,
    *,
    pretrained_on: str,
    budget_s: float,
    pretrain_s: float,
    seed: int,
    shares: Sequence[float] = SHARES,
    on_run: Callable[[str], None] = lambda said: None,
) -> LabelsBench:
    """Train on each share of the labels, with and without a network to start from.

    Args:
        learning: maps to learn from.
        holdout: maps of other lots.
        pretrain: the weights to start from; called once, and not at all where every result
            that needs it is known.
        learn: trains on its first set, from its third argument if there is one, and scores its
            second.
        results: where each run is kept as soon as it is known.
        pretrained_on: its data, for the report.
        budget_s: of one training, for the report.
        pretrain_s: of `pretrain`, for the report.
        seed: of the trainings and of which lots are taken.
        shares: of the labels.
        on_run: told which network is trained now.

    Raises:
        DatasetError: too few lots for the smallest share.
    """
    first: list[Weights] = []
    resumed = 0

    def run(name: str, part: MapSet, *, from_synthetic: bool) -> LabelsRun:
        nonlocal resumed
        on_run(name)
        earlier = results.get(name)
        if earlier is not None:
            resumed += 1
            return msgspec.convert(earlier, LabelsRun)
        if from_synthetic and not first:
            first.append(pretrain())
        said = learn(part, holdout, first[0] if from_synthetic else None)
        judged = judge(
            said.probabilities,
            part.label_names,
            part.multi_label,
            said.thresholds,
            holdout,
            resamples=_RESAMPLES,
        )
        measured = LabelsRun(
            accuracy=judged.accuracy,
            macro_f1=judged.macro_f1,
            macro_f1_interval=judged.intervals["macro_f1"],
            per_class_f1=judged.per_class_f1,
            ece=judged.ece,
        )
        results.add(name, msgspec.to_builtins(measured))
        return measured

    rows = []
    for share in sorted(shares):
        part = share_of_lots(learning, share, seed)
        scratch = run(f"{share:.0%} scratch", part, from_synthetic=False)
        pretrained = run(f"{share:.0%} pretrained", part, from_synthetic=True)
        gain = 100.0 * (pretrained.macro_f1 - scratch.macro_f1)
        rows.append(ShareOfLabels(share, len(part), part.class_counts(), scratch, pretrained, gain))
    return LabelsBench(
        data=learning.source,
        pretrained_on=pretrained_on,
        holdout_maps=len(holdout),
        shares=rows,
        resumed=resumed,
        budget_s=budget_s,
        pretrain_s=pretrain_s,
        seed=seed,
        machine=machine(),
    )
