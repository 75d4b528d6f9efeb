"""The public data sets, where they are at hand (FABPILOT_DATA; the project does not ship them)."""

import os
from pathlib import Path

import numpy as np
import pytest

from contracts.wafer_map import PATTERNS
from models.map_files import load_maps
from models.splits import block_numbers, split_blocks
from models.traces import load_traces
from models.traces.metrology import MetrologyTask
from models.traces.spec import learn_spec

FOLDER = Path(os.environ.get("FABPILOT_DATA", "../shared/data"))


def _path(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is missing; point FABPILOT_DATA at the folder that has it")
    return path


@pytest.mark.data
def test_wm811k_loads_and_splits_by_lot_blocks() -> None:
    maps = load_maps(_path("wm811k.npz"))
    assert maps.label_names == PATTERNS
    assert maps.skipped == 0
    train, held = split_blocks(maps, seed=0)
    assert len(train) + len(held) < len(maps)  # it has duplicates
    assert all(train.class_counts().values())
    assert all(held.class_counts().values())
    block = dict(zip(maps.groups.tolist(), block_numbers(maps.groups, 60).tolist(), strict=True))
    assert not {block[g] for g in train.groups} & {block[g] for g in held.groups}
    assert held.subset(np.arange(50)).canonical(64).shape == (50, 64, 64)


@pytest.mark.data
def test_mixedwm38_loads_and_keeps_every_pattern_on_both_sides() -> None:
    maps = load_maps(_path("mixedwm38.npz"))
    assert maps.label_names == PATTERNS[1:]
    assert maps.multi_label
    train, held = split_blocks(maps, seed=0)
    assert all(train.class_counts().values())
    assert all(held.class_counts().values())


@pytest.mark.data
def test_bosch_etch_with_one_lot_left_out() -> None:
    traces = load_traces(_path("bosch_etch.npz"))
    report = (
        MetrologyTask()
        .train(traces, seed=0, code_version="test", on_progress=lambda share: None)
        .report
    )
    assert report.n == 65
    assert report.rmse is not None
    # Ridge on three means and the wafer's order gives 0.195.
    assert report.rmse <= 0.17


@pytest.mark.data
def test_phm_2016_reads_every_run_of_a_part() -> None:
    traces = load_traces(_path("phm2016_cmp"), "validation")
    assert len(traces) == 424
    assert np.isfinite(traces.target).all()
    assert sorted(set(traces.context["thread"])) == ["A 1-3", "A 4-6", "B 4-6"]
    spec = learn_spec(traces.runs, traces.variables)
    assert [name for i, name in enumerate(traces.variables) if i in spec.counters] == [
        name for name in traces.variables if name.startswith("USAGE_OF_")
    ]
