"""How fast a model is: torch, ONNX Runtime, int8 and a named peer, turn by turn in one run."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from contracts.errors import ModelFileError
from contracts.model_file import ModelCard
from fabpilot import __version__
from fabpilot.benchmarks.timing import (
    BATCH,
    Maps,
    Run,
    cores,
    file_runner,
    golden_batch,
    interleaved,
    maps_per_s,
    turn,
)
from models.export import build_card, export_model
from models.networks import WaferMapNet
from models.quantize import is_int8, quantize, read_card

__all__ = [
    "REFERENCE",
    "REFERENCE_SIZE",
    "ModelSpeed",
    "measure_model",
    "reference_file",
    "torch_network",
    "untrained_file",
]

REFERENCE, REFERENCE_SIZE = "mobilenetv3_small_100", 64
"""The peer of every figure: exported the same way, untrained, which does not change its speed."""
_CLASSES = 9  # of WM-811K


class ModelSpeed(msgspec.Struct, frozen=True):
    """What a model does on this machine's processor.

    Attributes:
        model: what was measured.
        architecture: from its card.
        canonical_size: S.
        cores: used at once for the figures per second.
        batch: maps a call for the figures per second.
        torch_per_s: the same network in eager mode, the better of one call over all cores and one
            call a core. Its weights are random: the file has no torch model, and speed does not
            depend on them.
        ort_fp32_per_s: the file, in maps a second on all cores.
        ort_int8_per_s: its int8 form.
        reference_per_s: `mobilenetv3_small_100` at 64x64, untrained, in float32.
        fp32_over_reference: ratio of the two.
        int8_over_reference: ratio of the two.
        int8_over_fp32: what 8 bits gain; below 1 they do not pay.
        torch_latency_ms: one map, the median, with one thread or all, whichever is faster.
        ort_fp32_latency_ms: the same.
        ort_int8_latency_ms: the same.
        torch_latency_p99_ms: of the same calls.
        ort_fp32_latency_p99_ms: of the same calls.
        ort_int8_latency_p99_ms: of the same calls.
        ort_over_torch_latency: how many times sooner ONNX Runtime (float32) answers.
        torch_threads: which setting was the better one, per call at batch 128 and at batch 1.
        rounds: in which each had its turn.
        cores_got: share of the cores this process had during the figures per second; well below 1,
            other work was in the way and they are rough.
    """

    model: str
    architecture: str
    canonical_size: int
    cores: int
    batch: int
    torch_per_s: float
    ort_fp32_per_s: float
    ort_int8_per_s: float
    reference_per_s: float
    fp32_over_reference: float
    int8_over_reference: float
    int8_over_fp32: float
    torch_latency_ms: float
    ort_fp32_latency_ms: float
    ort_int8_latency_ms: float
    torch_latency_p99_ms: float
    ort_fp32_latency_p99_ms: float
    ort_int8_latency_p99_ms: float
    ort_over_torch_latency: float
    torch_threads: tuple[int, int]
    rounds: int
    cores_got: float


def measure_model(
    name: str, content: bytes, *, rounds: int = 7, seconds: float = 0.5
) -> ModelSpeed:
    """Measure a model file, its int8 form, its network in torch, and the reference.

    Args:
        name: what to call it.
        content: a float32 model file. The maps it runs on are those of its golden batch.
        rounds: in each of which every contender has one turn.
        seconds: of a turn.

    Raises:
        ModelFileError: the file is int8 already, or none of ours.
    """
    card = read_card(content)
    if is_int8(card):
        raise ModelFileError(f"{name} is an int8 file; name the float32 file it was made from")
    several, one = golden_batch(card, BATCH), golden_batch(card, 1)
    files = {"fp32": content, "int8": quantize(content, several)}
    network = torch_network(card)
    reference = reference_file()
    reference_maps = golden_batch(read_card(reference), BATCH)
    timed = interleaved(
        {
            **{key: turn(file_runner(file), several, seconds) for key, file in files.items()},
            "reference": turn(file_runner(reference), reference_maps, seconds),
            # Each call on all cores, or a call a core: which is better depends on the network.
            "torch, all": _torch_turn(network, several, seconds, threads=cores(), callers=1),
            "torch, one": _torch_turn(network, several, seconds, threads=1, callers=cores()),
        },
        rounds,
    )
    best = timed.best
    torch_per_s = max(best["torch, all"], best["torch, one"])
    waits = _latencies(files, network, one, rounds, seconds)
    return ModelSpeed(
        model=name,
        architecture=card.architecture,
        canonical_size=card.canonical_size,
        cores=cores(),
        batch=BATCH,
        torch_per_s=torch_per_s,
        ort_fp32_per_s=best["fp32"],
        ort_int8_per_s=best["int8"],
        reference_per_s=best["reference"],
        fp32_over_reference=best["fp32"] / best["reference"],
        int8_over_reference=best["int8"] / best["reference"],
        int8_over_fp32=best["int8"] / best["fp32"],
        torch_latency_ms=waits["torch"].p50_ms,
        ort_fp32_latency_ms=waits["fp32"].p50_ms,
        ort_int8_latency_ms=waits["int8"].p50_ms,
        torch_latency_p99_ms=waits["torch"].p99_ms,
        ort_fp32_latency_p99_ms=waits["fp32"].p99_ms,
        ort_int8_latency_p99_ms=waits["int8"].p99_ms,
        ort_over_torch_latency=waits["torch"].p50_ms / waits["fp32"].p50_ms,
        torch_threads=(
            cores() if best["torch, all"] >= best["torch, one"] else 1,
            waits["torch"].threads,
        ),
        rounds=rounds,
        cores_got=timed.cores_got,
    )


def reference_file() -> bytes:
    """The model file of the reference."""
    return untrained_file(REFERENCE, REFERENCE_SIZE)


def untrained_file(backbone: str, size: int) -> bytes:
    """A model file with random weights, to measure the speed of a backbone.

    Raises:
        ConfigError: there is no such backbone.
    """
    net = WaferMapNet(backbone, _CLASSES, none_index=0)
    rng = np.random.default_rng(0)
    card = build_card(
        net,
        labels=("None", *(f"pattern {number}" for number in range(1, _CLASSES))),
        thresholds=(0.5,) * _CLASSES,
        size=size,
        examples=rng.integers(0, 256, (8, size, size), dtype=np.uint8),
        data_fingerprint="untrained",
        metrics={},
        code_version=__version__,
    )
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        path = Path(folder) / "model.onnx"
        export_model(net, card, path)
        return path.read_bytes()


def torch_network(card: ModelCard) -> WaferMapNet:
    """The network a card's architecture names, with random weights, laid out as it trains.

    Raises:
        ConfigError: there is no such backbone.
    """
    views = re.search(r", (\d+) views", card.architecture)
    net = WaferMapNet(
        card.architecture.split(",")[0],
        len(card.labels),
        multi_label=card.multi_label,
        none_index=card.labels.index("None") if "None" in card.labels else None,
        views=int(views[1]) if views else 1,
    )
    return net.eval().to(memory_format=torch.channels_last)


def _torch_run(net: WaferMapNet, threads: int) -> Run:
    def run(maps: Maps) -> Any:
        # A thread that comes new takes the number set here, and so does OpenMP in it.
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return net(torch.from_numpy(maps))

    return run


def _torch_turn(
    net: WaferMapNet, maps: Maps, seconds: float, *, threads: int, callers: int
) -> Callable[[], float]:
    run = _torch_run(net, threads)
    return lambda: maps_per_s(run, maps, callers=callers, seconds=seconds)


class _Wait(NamedTuple):
    """How long one map takes, and with how many threads a call that was."""

    p50_ms: float
    p99_ms: float
    threads: int


def _latencies(
    files: Mapping[str, bytes], net: WaferMapNet, one: Maps, rounds: int, seconds: float
) -> dict[str, _Wait]:
    """Of each contender, with one thread a call or all, whichever has the lower median."""
    settings = sorted({1, cores()})
    runs: dict[tuple[str, int], Run] = {}
    for threads in settings:
        runs.update(
            {(key, threads): file_runner(file, threads=threads) for key, file in files.items()}
        )
        runs["torch", threads] = _torch_run(net, threads)
    samples: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for round_ in range(rounds + 1):
        for key, run in runs.items():
            timed = _timed_ms(run, one, seconds)
            if round_:  # the first warms up
                samples[key].extend(timed)
    return {
        name: min(
            _Wait(
                float(np.percentile(samples[name, threads], 50)),
                float(np.percentile(samples[name, threads], 99)),
                threads,
            )
            for threads in settings
        )
        for name in (*files, "torch")
    }


def _timed_ms(run: Run, maps: Maps, seconds: float) -> Sequence[float]:
    """Milliseconds of each call of a turn."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        run(maps)
        times.append(1e3 * (time.perf_counter() - began))
    return times
