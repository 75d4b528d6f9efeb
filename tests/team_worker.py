"""One process of a team that trains on drawn maps: `torchrun … tests/team_worker.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import torch

from models.data import from_lists
from models.options import TrainOptions
from models.splits import split_blocks
from models.train import train
from tests.drawn_maps import PATTERNS_DRAWN, draw_map


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [PATTERNS_DRAWN[int(n)] for n in rng.integers(len(PATTERNS_DRAWN), size=320)]
    maps = from_lists([draw_map(n, rng) for n in labels], labels, [i // 8 for i in range(320)], "")
    rest, validation = split_blocks(maps, seed=0)
    options = TrainOptions(
        backbone="mapnet_xs",
        size=32,
        batch=32,
        epochs=3,
        budget_s=None,
        precision="fp32",
        patience=3,
    )
    trained = train(rest, validation, options)
    name = "leader" if trained.leads else "follower"
    weights = {key: value for key, value in trained.net.state_dict().items() if "head" in key}
    torch.save({"weights": weights, "steps": trained.steps}, folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
