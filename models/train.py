"""Training, from top to bottom: maps in, a calibrated network out. Nothing is written to disk.

Either end comes first: `epochs` passes over the data, or `budget_s` seconds. The learning rate
follows whichever is further, so a slow or busy machine finishes the same schedule in time, with
fewer steps. An interrupt (Ctrl-C) leaves nothing behind: a model is registered only after `train`.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from contracts.errors import DatasetError, DeviceError
from models.augment import random_views
from models.average import WeightAverage
from models.calibrate import best_thresholds, fit_temperature
from models.data import MapSet
from models.evaluate import Predict, confusion_matrix, f1_scores
from models.networks import WaferMapNet
from models.options import Device, EpochMetrics, Progress, TrainOptions
from models.replicas import Replicas, one_core
from models.sampling import class_shares, epoch_order, prior_shift

__all__ = ["Trained", "predictor", "train"]

_WARM_UP = 0.05  # share of the schedule in which the learning rate rises
_EVAL_BATCH = 256
_TRIALS = 3  # of each precision; the fastest counts
_MAX_GRADIENT = 5.0  # norm; a healthy step stays well below
_NONE = "None"


@dataclass(frozen=True)
class Trained:
    """A trained, calibrated network in evaluation mode on the CPU, and how it came about."""

    net: WaferMapNet
    labels: tuple[str, ...]
    multi_label: bool
    thresholds: tuple[float, ...]
    options: TrainOptions
    precision: str
    device: str
    steps: int
    elapsed_s: float
    stopped_by: Literal["epochs", "budget"]
    history: tuple[EpochMetrics, ...]


def train(
    maps: MapSet,
    validation: MapSet,
    options: TrainOptions,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a network and calibrate it.

    Args:
        maps: to learn from.
        validation: to choose temperature and thresholds on; neither trained nor reported on.
        options: how.
        on_progress: called after every step.
        on_epoch: called after every epoch.
        clock: seconds, from anywhere; the budget counts from the call of `train`. Calibration and
            the last look at the validation part come on top, a few seconds.

    Raises:
        DatasetError: the two sets have different classes, or training shows fewer than two.
        DeviceError: 'cuda' without a usable GPU.
    """
    start = clock()
    _check(maps, validation)
    device = _device(options.device)
    torch.manual_seed(options.seed)
    chance = torch.Generator().manual_seed(options.seed)

    x, y = _tensors(maps, options.size)
    x_val, y_val = (part.to(device) for part in _tensors(validation, options.size))
    net = WaferMapNet(
        options.backbone,
        len(maps.label_names),
        multi_label=maps.multi_label,
        none_index=maps.label_names.index(_NONE) if _NONE in maps.label_names else None,
    )
    net = net.to(device).to(memory_format=torch.channels_last)
    average = WeightAverage(net, options.ema_decay)
    optimizer = torch.optim.AdamW(_parameter_groups(net, options.weight_decay), lr=0.0)
    shares = class_shares(maps, options.balance)
    steps_an_epoch = max(1, len(maps) // options.batch)

    history: list[EpochMetrics] = []
    step, share, running = 0, 0.0, math.nan
    with Replicas(net, options.batch, parallel=device.type == "cpu") as replicas:
        precision = _precision(replicas, net, x[: options.batch].to(device), options, clock)
        learn = _learner(precision, options.label_smoothing)
        while share < 1.0:
            net.train()
            order = epoch_order(y, shares, chance)
            for number in range(steps_an_epoch):
                # 1. The learning rate follows the share of the schedule that is done.
                for group in optimizer.param_groups:
                    group["lr"] = options.learning_rate * _rate(share)
                # 2. A batch of maps, flipped and turned.
                rows = order[number * options.batch : (number + 1) * options.batch]
                views = random_views(x[rows], chance, turn=options.turn).to(device)
                # 3. Forward and backward on every replica, one step; the average follows.
                loss = replicas.learn(learn, views, y[rows].to(device))
                nn.utils.clip_grad_norm_(net.parameters(), _MAX_GRADIENT)
                optimizer.step()
                average.update(net)
                # 4. Where we stand, by steps or by time, whichever is further.
                step += 1
                elapsed = clock() - start
                share = _share_done(step, steps_an_epoch, elapsed, options)
                running = loss if math.isnan(running) else 0.98 * running + 0.02 * loss
                if on_progress is not None:
                    left = elapsed * (1.0 - share) / share
                    pace = step * options.batch / max(elapsed, 1e-9)
                    on_progress(
                        Progress(len(history) + 1, step, share, running, elapsed, left, pace)
                    )
                if share >= 1.0:
                    break
            scores = _scores(average.net, x_val, replicas, precision)
            accuracy, macro_f1 = _judge(scores, y_val)
            history.append(
                EpochMetrics(len(history) + 1, step, clock() - start, running, accuracy, macro_f1)
            )
            if on_epoch is not None:
                on_epoch(history[-1])
        # Calibrated on float32 scores, which is what the exported graph computes.
        scores = _scores(average.net, x_val, replicas, "fp32")

    thresholds = _calibrate(average.net, scores, y_val, prior_shift(maps, shares).to(device))
    all_steps = math.inf if options.epochs is None else options.epochs * steps_an_epoch
    return Trained(
        net=average.net.cpu(),
        labels=maps.label_names,
        multi_label=maps.multi_label,
        thresholds=thresholds,
        options=options,
        precision=precision,
        device=device.type,
        steps=step,
        elapsed_s=clock() - start,
        stopped_by="epochs" if step >= all_steps else "budget",
        history=tuple(history),
    )


def predictor(net: WaferMapNet) -> Predict:
    """The network as `evaluate` wants it: canonical maps in, probabilities out, all numpy."""

    def predict(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # One core: a small network gains little from more, and waits long for them on a busy
        # machine (see replicas.py).
        with one_core(), torch.inference_mode():
            probabilities: npt.NDArray[np.float32] = net(torch.from_numpy(maps))[0].numpy()
        return probabilities

    return predict


def _check(maps: MapSet, validation: MapSet) -> None:
    if maps.label_names != validation.label_names or maps.multi_label != validation.multi_label:
        raise DatasetError(
            f"training ({', '.join(maps.label_names)}) and validation"
            f" ({', '.join(validation.label_names)}) must be split from one set"
        )
    seen = [name for name, count in maps.class_counts().items() if count]
    if len(seen) < 2 and not maps.multi_label:
        raise DatasetError(f"{maps.source}: training needs two classes, there is {seen}")


def _device(wanted: Device) -> torch.device:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise DeviceError("no usable CUDA GPU here; train with device 'cpu' or 'auto'")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def _tensors(maps: MapSet, size: int) -> tuple[Tensor, Tensor]:
    """Canonical maps (N, S, S) uint8; classes (N,) int64, or (N, C) float32 if multi-label."""
    labels = torch.from_numpy(np.ascontiguousarray(maps.labels))
    return torch.from_numpy(maps.canonical(size)), labels.float() if maps.multi_label else labels


def _rate(share: float) -> float:
    """Learning rate relative to its peak: a short rise, then half a cosine down to 0."""
    if share < _WARM_UP:
        return max(share, 1e-3) / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (share - _WARM_UP) / (1.0 - _WARM_UP))


def _share_done(step: int, steps_an_epoch: int, elapsed_s: float, options: TrainOptions) -> float:
    by_steps = 0.0 if options.epochs is None else step / (options.epochs * steps_an_epoch)
    by_time = 0.0 if options.budget_s is None else elapsed_s / options.budget_s
    # Training without a limit on epochs starts at a share of 0 on a clock that stands still.
    return max(by_steps, by_time, 1e-9)


def _learner(precision: str, smoothing: float) -> Callable[[WaferMapNet, Tensor, Tensor], float]:
    """Forward and backward of one share of a batch, returning its loss."""

    def learn(net: WaferMapNet, maps: Tensor, labels: Tensor) -> float:
        net.train()
        with torch.autocast(maps.device.type, torch.bfloat16, enabled=precision == "bf16"):
            scores = net.logits(maps).float()
        if labels.ndim == 2:
            loss = functional.binary_cross_entropy_with_logits(scores, labels)
        else:
            loss = functional.cross_entropy(scores, labels, label_smoothing=smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    return learn


def _parameter_groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Kernels and matrices decay; biases and batch-norm scales do not."""
    parameters = list(net.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _precision(
    replicas: Replicas[WaferMapNet],
    net: WaferMapNet,
    maps: Tensor,
    options: TrainOptions,
    clock: Callable[[], float],
) -> str:
    """bf16 or fp32. 'auto' times both: which is faster depends on the CPU and on the network.

    With AMX tiles a dense ResNet trains twice as fast in bfloat16, a depthwise network at a third
    of its speed (docs/models.md).
    """
    if options.precision != "auto":
        return options.precision
    before = copy.deepcopy(net.state_dict())
    labels = torch.zeros((len(maps), net.head.out_features), device=maps.device)
    took = {}
    for name in ("fp32", "bf16"):
        times = []
        for _ in range(_TRIALS):
            begin = clock()
            replicas.learn(_learner(name, 0.0), maps, labels)
            times.append(clock() - begin)
        took[name] = min(times)
    net.load_state_dict(before)  # the trials moved the batch statistics
    return "bf16" if took["bf16"] < took["fp32"] else "fp32"


def _scores(
    net: WaferMapNet, maps: Tensor, replicas: Replicas[WaferMapNet], precision: str
) -> Tensor:
    """Raw scores (N, C), before calibration. In evaluation mode threads may share a network."""

    def score(part: Tensor) -> Tensor:
        # Both modes belong to the thread that sets them.
        with (
            torch.inference_mode(),
            torch.autocast(part.device.type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            return net.logits(part).float()

    return torch.cat(replicas.spread(score, torch.split(maps, _EVAL_BATCH)))


def _judge(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy and macro-F1 before calibration."""
    if labels.ndim == 2:
        answer, truth = (scores > 0).cpu().numpy(), labels.bool().cpu().numpy()
        f1 = f1_scores((answer & truth).sum(axis=0), truth.sum(axis=0), answer.sum(axis=0))
        return float((answer == truth).mean()), float(np.nanmean(f1))
    confusion = confusion_matrix(
        labels.cpu().numpy(), scores.argmax(dim=1).cpu().numpy(), scores.shape[1]
    )
    f1 = f1_scores(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))
    return float(np.trace(confusion) / confusion.sum()), float(np.nanmean(f1))


def _calibrate(net: WaferMapNet, scores: Tensor, labels: Tensor, bias: Tensor) -> tuple[float, ...]:
    """Set temperature and bias inside `net`; return the thresholds, one per class."""
    multi_label = labels.ndim == 2
    temperature = fit_temperature(scores, labels, bias, multi_label=multi_label)
    net.temperature.fill_(temperature)
    net.bias.copy_(bias)
    if not multi_label:
        return (0.5,) * scores.shape[1]
    probabilities = torch.sigmoid(scores / temperature + bias).cpu().numpy()
    return best_thresholds(probabilities, labels.cpu().numpy().astype(np.uint8))
