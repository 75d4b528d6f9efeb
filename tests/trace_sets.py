"""Sets of traces drawn from a seed: polishing, whose rate wears with a pad and its pressure."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.traces.data import Run, TraceSet

VARIABLES = ("pad_wafers", "pressure_kpa", "flow_ml_min")


def polishing(wafers: int = 90, *, seed: int = 0, noise: float = 0.3, threads: int = 1) -> TraceSet:
    """Runs of 60 s at 1 Hz: 20 s idle (step 1), 40 s of polishing (step 2).

    The target is 50 + 4 (pressure - 30) - 0.1 pad + noise; the pad is changed every 40 wafers.
    """
    rng = np.random.default_rng(seed)
    runs, targets = [], []
    for wafer in range(wafers):
        pad = float(wafer % 40)
        pressure = 30.0 + rng.normal(0.0, 1.0)
        times = np.arange(60.0)
        step = np.where(times < 20, 1, 2)
        values = np.stack(
            [
                pad + times / 60,
                np.where(step == 2, pressure + rng.normal(0, 0.2, 60), 0.0),
                np.where(step == 2, 200.0, 5.0) + rng.normal(0, 1.0, 60),
            ],
            axis=1,
        )
        runs.append(Run(values.astype(np.float32), times, step.astype(np.int64)))
        targets.append(50 + 4 * (pressure - 30) - 0.1 * pad + rng.normal(0, noise))
    numbers = np.arange(wafers)
    return TraceSet(
        name="polishing",
        runs=tuple(runs),
        variables=VARIABLES,
        group=np.array([f"lot{number // 10}" for number in numbers]),
        order=numbers * 100.0 + 60.0,
        context={
            "thread": np.array([f"head{number % threads}" for number in numbers]),
            "start_s": numbers * 100.0,
        },
        target=np.array(targets),
        target_unit="nm",
    )


def write_long(traces: TraceSet, path: Path) -> None:
    """A set as a Parquet file in long format, rows shuffled."""
    rows: dict[str, list[object]] = {"run": [], "time_s": [], "step": [], "group": [], "order": []}
    rows |= {"target": [], "part": [], "context_thread": []}
    rows |= {name: [] for name in traces.variables}
    for index, run in enumerate(traces.runs):
        assert run.step is not None
        for moment in range(len(run.times_s)):
            rows["run"].append(f"run{index}")
            rows["time_s"].append(float(run.times_s[moment]) + 1000.0)
            rows["step"].append(int(run.step[moment]))
            rows["group"].append(str(traces.group[index]))
            rows["order"].append(float(traces.order[index]))
            value = float(traces.target[index])
            rows["target"].append(value if np.isfinite(value) else None)
            rows["part"].append("train" if index < 0.7 * len(traces) else "later")
            rows["context_thread"].append(str(traces.context["thread"][index]))
            for column, name in enumerate(traces.variables):
                rows[name].append(float(run.values[moment, column]))
    table = pa.table(rows)
    shuffled = np.random.default_rng(5).permutation(table.num_rows)
    pq.write_table(table.take(pa.array(shuffled)), path)
