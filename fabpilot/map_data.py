"""Sets of wafer maps by the names the command line gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from contracts.errors import DatasetError
from fab_sim import labelled_maps, load_scenario
from models.data import MapSet, from_lists
from models.map_files import load_maps
from models.splits import split_blocks

__all__ = ["HOLDOUT", "SIM_WAFERS", "Part", "load_maps_of_run", "load_named_maps", "part_of"]

# Share of the lots that training never sees; `evaluate --part holdout` finds the same ones.
HOLDOUT = 0.15
SIM_WAFERS = 40_000
"""Maps the synthetic fab makes to train on, unless told otherwise."""
_SPLIT_SEED = 0
_SIM_PREFIX = "sim:"

Part = Literal["all", "train", "holdout"]


def load_named_maps(data: str, *, wafers: int, seed: int) -> MapSet:
    """The maps of a file, or of the synthetic fab for `sim:SCENARIO`.

    Args:
        data: a path (.npz or LSWMD.pkl), or `sim:SCENARIO` with a built-in one or a YAML file.
        wafers: how many maps the synthetic fab makes.
        seed: of the synthetic fab.

    Raises:
        DatasetError: the file cannot be used.
        ConfigError: there is no such scenario.
    """
    if not data.startswith(_SIM_PREFIX):
        return load_maps(Path(data))
    made = labelled_maps(load_scenario(data.removeprefix(_SIM_PREFIX)), wafers=wafers, seed=seed)
    number = {lot: index for index, lot in enumerate(dict.fromkeys(made.lots))}
    return from_lists(
        made.grids, made.labels, [number[lot] for lot in made.lots], f"{data} seed {seed}"
    )


def load_maps_of_run(data: str, params: Mapping[str, str]) -> MapSet:
    """The maps that `data` meant in a training run; raises as `load_named_maps`.

    Args:
        data: as in `load_named_maps`.
        params: of the run; they say how many wafers of the synthetic fab, and which seed.
    """
    wafers = int(params.get("wafers", SIM_WAFERS))
    return load_named_maps(data, wafers=wafers, seed=int(params.get("data_seed", 0)))


def part_of(maps: MapSet, part: Part) -> MapSet:
    """All maps, or one side of the split that `fabpilot train` makes.

    A set that says itself what is held out is taken at its word.

    Raises:
        DatasetError: the set is too small to split.
    """
    if part == "all":
        return maps
    if maps.held_out is not None:
        chosen = maps.subset(np.flatnonzero(maps.held_out == (part == "holdout")))
    else:
        train, holdout = split_blocks(maps, holdout=HOLDOUT, seed=_SPLIT_SEED)
        chosen = train if part == "train" else holdout
    if not len(chosen):
        raise DatasetError(f"{maps.source}: its {part} part is empty")
    return chosen
