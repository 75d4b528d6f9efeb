from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from contracts.errors import DatasetError
from models.traces import Run, TraceSet, load_traces
from models.traces.load_phm import VARIABLES
from tests.trace_sets import polishing, write_long


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "mine.parquet"
    write_long(polishing(20), path)
    return path


def phm_part(folder: Path, part: str, wafers: dict[int, tuple[str, float, int]]) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for wafer, (stage, start, chamber) in wafers.items():
        for moment in range(6):
            row = {"MACHINE_ID": 2, "MACHINE_DATA": chamber, "TIMESTAMP": start + moment}
            row |= {"WAFER_ID": wafer, "STAGE": stage, "CHAMBER": float(chamber), "FILE": "f"}
            rows.append(row | {name: float(moment) for name in VARIABLES})
    rng.shuffle(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{part}_traces.parquet")
    rates = [
        {"WAFER_ID": wafer, "STAGE": stage, "AVG_REMOVAL_RATE": 70.0 + wafer}
        for wafer, (stage, _, _) in wafers.items()
    ]
    pc.write_csv(pa.Table.from_pylist(rates), folder / f"{part}_removalrate.csv")


def test_a_long_file_comes_back_as_it_was(long_file):
    made, read = polishing(20), load_traces(long_file)
    assert read.parts == ("later", "train", "all")
    by_order = read.in_time()
    assert by_order.order.tolist() == made.order.tolist()
    np.testing.assert_allclose(by_order.target, made.target)
    for left, right in zip(by_order.runs, made.runs, strict=True):
        np.testing.assert_array_equal(left.values, right.values)
        np.testing.assert_allclose(left.times_s, right.times_s)
        np.testing.assert_array_equal(left.step, right.step)
    assert set(by_order.context["thread"]) == {"head0"}
    train = load_traces(long_file, "train")
    assert len(train) == 14
    assert train.part == "train"
    assert train.fingerprint() != read.fingerprint()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"run": ["a"], "time_s": [0.0]}, "no variable"),
        ({"run": ["a"], "time_s": [None], "p": [1.0]}, "time_s is empty"),
        ({"run": ["a"], "time_s": [0.0], "p": ["high"]}, "context_p"),
        ({"run": ["a"], "time_s": [0.0], "p": [1.0], "order": [None]}, "order is empty"),
    ],
)
def test_a_long_file_that_cannot_be_used_says_why(tmp_path, columns, says):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DatasetError, match=says):
        load_traces(path)


def test_timestamps_order_runs(tmp_path):
    path = tmp_path / "dated.parquet"
    days = pa.array([2, 1], pa.timestamp("ms"))
    pq.write_table(pa.table({"run": [7, 8], "time_s": [0, 0], "p": [1, 2], "order": days}), path)
    assert load_traces(path).in_time().group.tolist() == ["8", "7"]


def test_no_such_part_and_no_such_layout(long_file, tmp_path):
    with pytest.raises(DatasetError, match="later, train, all"):
        load_traces(long_file, "validation")
    with pytest.raises(DatasetError, match="does not exist"):
        load_traces(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match="Known are"):
        load_traces(tmp_path / "notes.txt")


def test_phm_reads_the_parts_that_are_there(tmp_path):
    phm_part(tmp_path, "train", {1: ("A", 500.0, 1), 2: ("A", 100.0, 4), 3: ("B", 300.0, 5)})
    assert load_traces(tmp_path).part == "train"
    phm_part(tmp_path, "test", {4: ("B", 200.0, 6)})
    both = load_traces(tmp_path).in_time()
    assert both.parts == ("test", "train", "all")
    assert both.context["thread"].tolist() == ["A 4-6", "B 4-6", "B 4-6", "A 1-3"]
    assert both.target.tolist() == [72.0, 74.0, 73.0, 71.0]
    assert all(run.times_s.tolist() == [0, 1, 2, 3, 4, 5] for run in both.runs)
    (tmp_path / "test_removalrate.csv").unlink()
    assert np.isnan(load_traces(tmp_path, "test").target).all()


def test_bosch_reads_whole_and_by_lot(tmp_path):
    path = tmp_path / "etch.npz"
    np.savez(
        path,
        data=np.arange(24, dtype=np.float32).reshape(12, 2),
        offsets=[0, 4, 8, 12],
        lot=[1, 1, 2],
        wafer=[1, 3, 1],
        dt=[0.2, 0.2, 0.2],
        depth_um=[44.0, 43.9, 44.1],
        signals=["power", "gas"],
    )
    whole = load_traces(path)
    assert whole.parts == ("all", "lot-1", "lot-2")
    assert whole.target.tolist() == [44.0, 43.9, 44.1]
    assert load_traces(path, "lot-2").runs[0].values.tolist() == whole.runs[2].values.tolist()
    assert whole.runs[0].times_s[-1] == pytest.approx(0.6)


def test_a_set_that_contradicts_itself_is_refused():
    run = Run(np.zeros((3, 1), np.float32), np.arange(3.0))
    with pytest.raises(DatasetError, match="1 runs with 2 values of order"):
        TraceSet("x", (run,), ("p",), np.array(["a"]), np.arange(2.0))
    with pytest.raises(DatasetError, match="2 variables"):
        TraceSet("x", (run,), ("p", "q"), np.array(["a"]), np.arange(1.0))
