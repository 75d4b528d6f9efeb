"""Drawn etch runs with known faults: two steps, five sensors, experiments that differ in mean."""

from pathlib import Path

import numpy as np

from models.traces import Run, TraceSet

VARIABLES = ("Pressure", "Vat Valve", "Cl2 Flow", "Endpt A", "He Press")
# Level of each in steps 4 and 5, its noise, and the step of its reading (0: none).
_LEVELS = np.array([[1185.0, 49.3, 753.0, 1700.0, 100.0], [1190.0, 50.2, 752.0, 900.0, 101.0]])
_NOISE = np.array([4.0, 0.3, 0.7, 30.0, 0.6])
_RESOLUTION = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
_OFFSET = np.array([0.0, 1.0, 0.0, 800.0, 0.0])
_WAFER_TO_WAFER = np.array([0.3, 0.05, 0.05, 8.0, 0.05])


def etch_run(
    rng: np.random.Generator, experiment: int = 0, changed: str | None = None, by: float = 0.0
) -> Run:
    """One run; `changed` is off by so many standard deviations of a wafer's level."""
    level = _LEVELS + experiment * _OFFSET + _WAFER_TO_WAFER * rng.standard_normal(5)
    if changed is not None:
        level[:, VARIABLES.index(changed)] += by * _WAFER_TO_WAFER[VARIABLES.index(changed)]
    parts, steps = [], []
    for number, target in zip((4, 5), level, strict=True):
        n = int(rng.integers(46, 52))
        values = target + _NOISE * rng.standard_normal((n, 5))
        values[:4] += 20.0 * _NOISE * np.exp(-np.arange(4))[:, np.newaxis]
        parts.append(values)
        steps.append(np.full(n, number))
    values = np.concatenate(parts)
    coarse = np.where(_RESOLUTION > 0, _RESOLUTION, 1.0)
    values = np.where(_RESOLUTION > 0, np.round(values / coarse) * coarse, values)
    return Run(values.astype(np.float32), np.arange(len(values)) * 1.05, np.concatenate(steps))


def etch_set(
    normal: int, experiments: int = 1, faults: tuple[tuple[str, float], ...] = (), seed: int = 0
) -> TraceSet:
    """`normal` good wafers of each experiment, the faults spread among the later half."""
    rng = np.random.default_rng(seed)
    runs, labels, names, order = [], [], [], []
    for experiment in range(experiments):
        places = np.linspace(normal // 2, normal, len(faults), endpoint=False).astype(int)
        number = 0
        for wafer in range(normal):
            for fault, (variable, by) in enumerate(faults):
                if places[fault] == wafer:
                    runs.append(etch_run(rng, experiment, variable, by))
                    labels.append(f"{variable} {by:+g}")
                    names.append(str(experiment))
                    order.append(1000.0 * experiment + number)
                    number += 1
            runs.append(etch_run(rng, experiment))
            labels.append("normal")
            names.append(str(experiment))
            order.append(1000.0 * experiment + number)
            number += 1
    return TraceSet(
        name="drawn etch",
        runs=tuple(runs),
        variables=VARIABLES,
        group=np.arange(len(runs)).astype(np.str_),
        order=np.array(order),
        context={"experiment": np.array(names)},
        fault=tuple(labels),
    )


def write_lam(path: Path, traces: TraceSet, numbers: list[str]) -> None:
    """The set as LAM 9600's file: sorted by label, each wafer with the first row of the next."""
    sort = sorted(range(len(traces)), key=lambda i: traces.fault[i] != "normal")
    rows, offsets = [], [0]
    for place, i in enumerate(sort):
        run = traces.runs[i]
        own = np.c_[10.0 + run.times_s, run.step, run.values]
        after = traces.runs[sort[(place + 1) % len(sort)]]
        stray = np.r_[10.0, 5.0, after.values[0]]
        rows += [own, stray[np.newaxis]]
        offsets.append(offsets[-1] + len(own) + 1)
    np.savez(
        path,
        data=np.concatenate(rows),
        offsets=np.array(offsets),
        wafer=np.array([numbers[i] for i in sort]),
        fault=np.array([traces.fault[i] for i in sort]),
        variables=np.array(["Time", "Step Number", *traces.variables]),
    )
