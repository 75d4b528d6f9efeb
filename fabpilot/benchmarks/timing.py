"""Timing that holds on a shared machine: short turns, all contenders in every round.

Machines are shared and their clocks wander, so nothing is timed on its own: each contender gets a
short turn in every round, and its best round counts. Throughput is measured the way the processor
scores (`fabpilot process`): one session of one thread, run by as many threads as there are cores.
"""

import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from contracts.model_file import INPUT_NAME, ModelCard

__all__ = [
    "BATCH",
    "Maps",
    "Run",
    "Timed",
    "cores",
    "file_runner",
    "golden_batch",
    "interleaved",
    "maps_per_s",
    "turn",
]

BATCH = 128
"""Maps a call, as many as the processor scores at once."""

Name = TypeVar("Name", bound=Hashable)
Maps = npt.NDArray[np.uint8]
Run = Callable[[Maps], Any]
"""Scores (N, S, S) uint8 maps."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Timed(NamedTuple, Generic[Name]):
    """What contenders reached.

    Attributes:
        best: of each, over its rounds.
        cores_got: share of the cores that this process had meanwhile. Well below 1, other work was
            in the way: figures are too low and ratios rough.
    """

    best: dict[Name, float]
    cores_got: float


def interleaved(contenders: Mapping[Name, Callable[[], float]], rounds: int) -> Timed[Name]:
    """The best that each contender reached, all of them having one turn a round.

    A turn before the first round warms each up and is thrown away.

    Args:
        contenders: each keeps all cores busy in its turn.
        rounds: at least one.
    """
    found: dict[Name, list[float]] = {name: [] for name in contenders}
    for take_turn in contenders.values():
        take_turn()
    began, used = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        for name, take_turn in contenders.items():
            found[name].append(take_turn())
    got = (time.process_time() - used) / (time.perf_counter() - began) / cores()
    return Timed({name: max(rates) for name, rates in found.items()}, got)


def maps_per_s(run: Run, maps: Maps, *, callers: int, seconds: float) -> float:
    """Maps a second of all callers together, each a thread that scores one batch after another.

    Args:
        run: scores a batch; is called by all threads at once.
        maps: (N, S, S) uint8, the batch.
        callers: how many threads.
        seconds: after which no thread begins another batch.
    """
    begin = threading.Barrier(callers)

    def call() -> float:
        begin.wait()
        began = time.perf_counter()
        done = 0
        while True:
            run(maps)
            done += len(maps)
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                return done / elapsed

    if callers == 1:
        return call()
    with ThreadPoolExecutor(callers) as pool:
        return sum(future.result() for future in [pool.submit(call) for _ in range(callers)])


def file_runner(content: bytes, *, threads: int = 1) -> Run:
    """A model file in ONNX Runtime on the CPU, set as serving sets it.

    Args:
        content: the file.
        threads: of one call.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda maps: session.run(None, {INPUT_NAME: maps})


def turn(run: Run, maps: Maps, seconds: float) -> Callable[[], float]:
    """A contender's turn: maps a second, a thread a core."""
    return lambda: maps_per_s(run, maps, callers=cores(), seconds=seconds)


def golden_batch(card: ModelCard, count: int) -> Maps:
    """So many maps (count, S, S) uint8: those of the golden batch, again and again."""
    golden: Maps = card.golden_maps.numpy()
    return np.take(golden, np.arange(count), axis=0, mode="wrap")
