"""How far the maps of the synthetic fab are from real ones, pattern by pattern.

Each synthetic map is paired with a real one of its pattern and nearly its number of dies, so that
the sizes of grids give nothing away. The same figures for the earlier against the later half of the
real maps say what distance means between two times of real fabs.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from contracts.wafer_map import PATTERNS, Grid
from fab_sim import Scenario, labelled_maps
from fabpilot.benchmarks.map_features import Features, features
from models.data import MapSet

__all__ = ["PatternRealism", "Realism", "RealismBench", "measure_realism"]

# Maps of real lots look alike; lots have 25 wafers, and neighbours must not be in two folds.
_LOT = 25
_FOLDS = 5
_FEWEST = 20
# Synthetic maps to choose each partner from, on average.
_CHOICE = 3
_JITTER = 0.1
_POOL_STEP, _MOST_MADE = 5000, 100_000


class Realism(msgspec.Struct, frozen=True):
    """Distances between two sets of maps of one pattern; 0 (AUC 0.5) where none is seen.

    Attributes:
        failed_w1: Wasserstein-1 distance between the shares of failed dies.
        radial_l1: mean absolute difference of the mean shares of failed dies over ten rings.
        moran_w1: Wasserstein-1 distance between Moran's I of the maps.
        auc: of a random forest that tells the two apart, cross-validated by lots.
    """

    failed_w1: float
    radial_l1: float
    moran_w1: float
    auc: float


class PatternRealism(msgspec.Struct, frozen=True):
    """One pattern.

    Attributes:
        maps: compared on each side.
        failed_real, failed_synthetic: mean share of failed dies.
        moran_real, moran_synthetic: mean of Moran's I.
        synthetic: synthetic against real.
        reference: the earlier half of the real maps against the later; None with too few maps.
    """

    maps: int
    failed_real: float
    failed_synthetic: float
    moran_real: float
    moran_synthetic: float
    synthetic: Realism
    reference: Realism | None


class RealismBench(msgspec.Struct, frozen=True):
    """All patterns, and the means over those that both sides show.

    Attributes:
        mean_auc: 0.5 if nothing tells synthetic from real.
        mean_auc_reference: the same between halves of the real maps.
    """

    data: str
    scenario: str
    seed: int
    mean_auc: float
    mean_failed_w1: float
    mean_radial_l1: float
    mean_moran_w1: float
    mean_auc_reference: float | None
    patterns: dict[str, PatternRealism]


def measure_realism(real: MapSet, scenario: Scenario, *, wafers: int, seed: int) -> RealismBench:
    """Compare a scenario's maps with real ones.

    Args:
        real: one pattern a map.
        scenario: whose causes make the synthetic maps.
        wafers: maps a pattern on each side, at most.
        seed: of the synthetic maps, the draw of the real ones and the classifier.

    Raises:
        DatasetError: no pattern is on both sides often enough.
    """
    if real.multi_label:
        raise DatasetError(f"{real.source}: maps of mixed patterns cannot be compared by pattern")
    random = np.random.default_rng(seed)
    chosen: dict[str, npt.NDArray[np.int64]] = {}
    for name in PATTERNS:
        if name in real.label_names:
            rows = np.flatnonzero(real.labels == real.label_names.index(name))
            if len(rows) >= _FEWEST:
                drawn = random.choice(rows, min(wafers, len(rows)), replace=False)
                chosen[name] = drawn[np.argsort(real.groups[drawn], kind="stable")]
    made = _made(scenario, {name: _CHOICE * len(rows) for name, rows in chosen.items()}, seed)
    found: dict[str, PatternRealism] = {}
    for name, rows in chosen.items():
        if len(made.get(name, ())) < _FEWEST:
            continue
        truth = [real.grids[int(row)] for row in rows]
        partners, kept = _partners(truth, made[name], random)
        ours = features([made[name][place][0] for place in partners])
        theirs = features(truth)
        lots = np.array([made[name][place][1] for place in partners])
        groups = real.groups[rows] // _LOT
        half = len(rows) // 2
        found[name] = PatternRealism(
            maps=len(kept),
            failed_real=float(theirs.failed[kept].mean()),
            failed_synthetic=float(ours.failed.mean()),
            moran_real=float(theirs.moran[kept].mean()),
            moran_synthetic=float(ours.moran.mean()),
            synthetic=_compare(theirs.of(kept), ours, groups[kept], lots, seed),
            reference=None
            if half < _FEWEST
            else _compare(
                theirs.of(np.arange(half)),
                theirs.of(np.arange(half, 2 * half)),
                groups[:half],
                groups[half : 2 * half],
                seed,
            ),
        )
    if not found:
        raise DatasetError(
            f"{real.source} and scenario {scenario.name} have no pattern with {_FEWEST} maps on"
            " both sides"
        )
    scores = [item.synthetic for item in found.values()]
    references = [item.reference.auc for item in found.values() if item.reference is not None]
    return RealismBench(
        data=real.source,
        scenario=scenario.name,
        seed=seed,
        mean_auc=_mean([score.auc for score in scores]),
        mean_failed_w1=_mean([score.failed_w1 for score in scores]),
        mean_radial_l1=_mean([score.radial_l1 for score in scores]),
        mean_moran_w1=_mean([score.moran_w1 for score in scores]),
        mean_auc_reference=_mean(references) if references else None,
        patterns=found,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _made(
    scenario: Scenario, wanted: dict[str, int], seed: int
) -> dict[str, list[tuple[Grid, int]]]:
    """Synthetic maps by pattern with their lot numbers, until there are enough of each."""
    made: dict[str, list[tuple[Grid, int]]] = {}
    for batch in range(_MOST_MADE // _POOL_STEP):
        some = labelled_maps(scenario, wafers=_POOL_STEP, seed=seed + 7919 * batch)
        for place, (grid, label) in enumerate(zip(some.grids, some.labels, strict=True)):
            made.setdefault(label, []).append((grid, batch * _POOL_STEP + place // _LOT))
        if all(len(made.get(name, ())) >= count for name, count in wanted.items() if name in made):
            break
    return made


def _partners(
    real: Sequence[Grid], made: Sequence[tuple[Grid, int]], random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each real map an unused synthetic one with about as many dies.

    Returns:
        Places in `made` and places in `real`, as many each; fewer than the real maps where the
        synthetic ones ran out.
    """
    # A tenth of jitter, or all partners of a common real product came from one synthetic lot.
    sizes = np.log([float(np.count_nonzero(grid)) for grid, _ in made])
    sizes += _JITTER * random.standard_normal(len(made))
    free = np.ones(len(made), dtype=bool)
    partners, kept = [], []
    for place, grid in enumerate(real):
        if not free.any():
            break
        distance = np.where(free, np.abs(sizes - np.log(np.count_nonzero(grid))), np.inf)
        nearest = int(distance.argmin())
        free[nearest] = False
        partners.append(nearest)
        kept.append(place)
    return np.array(partners, dtype=np.int64), np.array(kept, dtype=np.int64)


def _compare(
    first: Features,
    second: Features,
    first_lots: npt.NDArray[np.int64],
    second_lots: npt.NDArray[np.int64],
    seed: int,
) -> Realism:
    return Realism(
        failed_w1=_wasserstein(first.failed, second.failed),
        radial_l1=float(np.abs(first.radial.mean(axis=0) - second.radial.mean(axis=0)).mean()),
        moran_w1=_wasserstein(first.moran, second.moran),
        auc=_auc(first, second, first_lots, second_lots, seed),
    )


def _wasserstein(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Wasserstein-1 distance of two samples of one size: the mean gap of their sorted values."""
    return float(np.abs(np.sort(first) - np.sort(second)).mean())


def _auc(
    first: Features,
    second: Features,
    first_lots: npt.NDArray[np.int64],
    second_lots: npt.NDArray[np.int64],
    seed: int,
) -> float:
    """Area under the ROC curve of a forest that tells the two apart, on maps of lots held out."""
    # It takes a second to import, and nothing else here needs it.
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    x = np.concatenate([first.all, second.all])
    y = np.repeat([0, 1], [len(first.all), len(second.all)])
    groups = np.concatenate([2 * first_lots, 2 * second_lots + 1])
    forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed, n_jobs=1)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    said = cross_val_predict(forest, x, y, groups=groups, cv=folds, method="predict_proba")
    return float(roc_auc_score(y, said[:, 1]))
