"""What may happen to a wafer map between the prober and the model, and what it costs the model."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from contracts.wafer_map import FAIL, OFF, PASS, Grid
from models.data import MapSet
from models.evaluate import Predict, judge, predict_all

__all__ = ["Perturbation", "macro_f1_under", "perturbations"]

Perturbation = Callable[[MapSet], MapSet]
"""A set to the same set with other grids."""

_FLIPPED, _MISSING = 0.02, 0.05
# How far towards the centre a turned die looks for one, in shares of its radius: the outline of a
# wafer is not round to the die.
_INWARD = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8)


def perturbations(seed: int) -> dict[str, Perturbation]:
    """Each by its name; the same seed and set give the same maps.

    - `die_flips`: 2 % of the tested dies got the other result (contact trouble at the prober).
    - `missing_dies`: 5 % of the dies have no result. A prober leaves a die it did not test at the
      null bin of the substrate map (SEMI E142), as it does a place without a die, so it reads as 0.
    - `rotation`: the pattern turned by any angle on the same outline of dies; a wafer lies in its
      carrier as it comes, and equipment leaves its mark at whatever angle.
    """
    return {
        "die_flips": lambda maps: _each(maps, seed, _flip),
        "missing_dies": lambda maps: _each(maps, seed, _miss),
        "rotation": lambda maps: _each(maps, seed, _turn),
    }


def macro_f1_under(
    predict: Predict,
    labels: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float],
    maps: MapSet,
    size: int,
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Macro-F1 of a model under each perturbation; arguments as for `evaluate`.

    Args:
        predict: the model.
        labels: the C classes of its probabilities.
        multi_label: whether the model is.
        thresholds: (C,) for multi-label models.
        maps: untouched.
        size: S, the model's canonical size.
        seed: of the perturbations.
        on_progress: called with the number of maps just done.
    """
    found = {}
    for name, perturb in perturbations(seed).items():
        changed = perturb(maps)
        probabilities = predict_all(predict, changed, size)
        judged = judge(probabilities, labels, multi_label, thresholds, changed)
        found[name] = judged.macro_f1
        if on_progress is not None:
            on_progress(len(maps))
    return found


def _each(maps: MapSet, seed: int, change: Callable[[Grid, np.random.Generator], Grid]) -> MapSet:
    random = np.random.default_rng(seed)
    return replace(maps, grids=[change(grid, random) for grid in maps.grids])


def _flip(grid: Grid, random: np.random.Generator) -> Grid:
    flipped = (random.random(grid.shape) < _FLIPPED) & (grid != OFF)
    return np.where(flipped, PASS + FAIL - grid, grid).astype(np.uint8)


def _miss(grid: Grid, random: np.random.Generator) -> Grid:
    return np.where(random.random(grid.shape) < _MISSING, OFF, grid).astype(np.uint8)


def _turn(grid: Grid, random: np.random.Generator) -> Grid:
    """Every die gets the result of the die that lies where it came from."""
    rows, columns = np.nonzero(grid != OFF)
    height, width = grid.shape
    # The bounding box of a grid is the wafer's bounding square: -1..1 on both axes.
    v, u = (rows + 0.5) / height * 2.0 - 1.0, (columns + 0.5) / width * 2.0 - 1.0
    angle = random.random() * 2.0 * np.pi
    from_v = np.cos(angle) * v + np.sin(angle) * u
    from_u = np.cos(angle) * u - np.sin(angle) * v
    found = np.full(len(rows), OFF, dtype=np.uint8)
    for inward in _INWARD:
        row = np.clip((from_v * inward + 1.0) / 2.0 * height, 0, height - 1).astype(np.int64)
        column = np.clip((from_u * inward + 1.0) / 2.0 * width, 0, width - 1).astype(np.int64)
        found = np.where(found == OFF, grid[row, column], found)
    turned = np.zeros_like(grid)
    # What found no die even there lies beside a hole in the map; it keeps its own result.
    turned[rows, columns] = np.where(found == OFF, grid[rows, columns], found)
    return turned
