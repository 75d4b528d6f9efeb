"""Training, from top to bottom: maps in, a calibrated network out.

Either end comes first: `epochs` passes over the data, or `budget_s` seconds. The learning rate
follows whichever is further, so a slow or busy machine finishes the same schedule in time, with
fewer steps. Nothing is written to disk but the checkpoint, if one is wanted.
"""

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from contracts.errors import DatasetError, DeviceError
from models.augment import random_views
from models.calibrate import best_thresholds, fit_temperature
from models.checkpoint import CheckpointFile
from models.data import MapSet
from models.distributed import join_team
from models.evaluate import Predict, confusion_matrix, f1_scores
from models.networks import Scores, WaferMapNet
from models.novelty import fit_novelty
from models.options import Device, EpochMetrics, Progress, TrainOptions
from models.replicas import Replicas, one_core
from models.sampling import class_shares, epoch_order, prior_shift
from models.training_run import TrainingRun
from models.weights import Weights, start_from

__all__ = ["Trained", "predictor", "train"]

_WARM_UP = 0.05  # share of the schedule in which the learning rate rises
_EVAL_BATCH = 256
_TRIALS = 3  # of each precision; the fastest counts
_MAX_GRADIENT = 10.0  # norm; a healthy step stays well below
_NONE = "None"
# What a mean and a covariance need; all of them would take a minute of a long run.
_NOVELTY_MAPS = 8000


@dataclass(frozen=True)
class Trained:
    """A trained, calibrated network in evaluation mode on the CPU, and how it came about.

    Attributes:
        leads: False in the processes of a team that have nothing to report (`distributed`).
        resumed_at: epochs done before this process, by one that was killed.
    """

    net: WaferMapNet
    labels: tuple[str, ...]
    multi_label: bool
    thresholds: tuple[float, ...]
    options: TrainOptions
    precision: str
    device: str
    steps: int
    elapsed_s: float
    stopped_by: Literal["epochs", "budget", "patience"]
    history: tuple[EpochMetrics, ...]
    leads: bool = True
    resumed_at: int = 0


def train(
    maps: MapSet,
    validation: MapSet,
    options: TrainOptions,
    *,
    priors: Mapping[str, int] | None = None,
    init: Weights | None = None,
    checkpoint: CheckpointFile | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a network and calibrate it.

    Under `torchrun` every process calls this with the same arguments; the first one's network is
    the one to keep.

    Args:
        maps: to learn from.
        validation: to choose temperature and thresholds on; neither trained nor reported on.
        options: how.
        priors: how many maps of each class there are for each other where the model will serve,
            if not as in `maps`.
        init: weights to start from instead of random ones; classes are matched by name.
        checkpoint: kept after every epoch and taken up if there is one. It stays at the end: the
            caller removes it when what came of the training is safe.
        on_progress: called after every step.
        on_epoch: called after every epoch.
        clock: seconds, from anywhere; the budget counts from the call of `train`. Calibration and
            the last look at the validation part come on top, a few seconds.

    Raises:
        DatasetError: the two sets have different classes, or training shows fewer than two.
        DeviceError: 'cuda' without a usable GPU.
        ModelFileError: `init` does not fit.
    """
    start = clock()
    _check(maps, validation)
    device = _device(options.device)
    torch.manual_seed(options.seed)

    x, y = (part.to(device) for part in _tensors(maps, options.size))
    x_val, y_val = (part.to(device) for part in _tensors(validation, options.size))
    net = WaferMapNet(
        options.backbone,
        len(maps.label_names),
        multi_label=maps.multi_label,
        none_index=maps.label_names.index(_NONE) if _NONE in maps.label_names else None,
        views=options.views,
    )
    if init is not None:
        start_from(net, maps.label_names, init)
    net = net.to(device).to(memory_format=torch.channels_last)
    shares = class_shares(maps, options.balance)
    run = TrainingRun(net, options, (checkpoint.load() if checkpoint is not None else None) or {})
    start -= run.elapsed_s
    steps_an_epoch = max(1, len(maps) // options.batch)

    with join_team(device) as team:
        model = team.parallel(Scores(net), device)
        if options.compile:
            model.compile()
        # Replicas are copies in threads; a compiled network and a team's have one process each.
        alone = device.type == "cpu" and team.size == 1 and not options.compile
        with Replicas(model, options.batch, parallel=alone) as replicas:
            precision = run.precision or _precision(replicas, net, x, options, clock)
            precision = "bf16" if team.agree(precision == "bf16") else "fp32"
            learn = _learner(precision, options.label_smoothing)
            # Every process draws the same order, takes its share, and turns it its own way.
            chance = torch.Generator().manual_seed(options.seed)
            while run.share < 1.0 and not run.out_of_patience:
                net.train()
                epoch = len(run.history) + 1
                order = epoch_order(y.cpu(), shares, chance.manual_seed(_seed(options, epoch)))
                views = torch.Generator().manual_seed(_seed(options, epoch, team.rank + 1))
                for number in range(steps_an_epoch):
                    # 1. The learning rate follows the share of the schedule that is done.
                    for group in run.optimizer.param_groups:
                        group["lr"] = options.learning_rate * _rate(run.share)
                    # 2. A batch of maps, flipped and turned.
                    rows = order[number * options.batch : (number + 1) * options.batch]
                    rows = team.share(rows).to(device)
                    images = random_views(x[rows], views, turn=options.turn)
                    # 3. Forward and backward on every replica, one step; the average follows.
                    loss = replicas.learn(learn, images, y[rows])
                    nn.utils.clip_grad_norm_(net.parameters(), _MAX_GRADIENT)
                    run.optimizer.step()
                    run.average.update(net)
                    # 4. Where we stand, by steps or by time, whichever is further.
                    elapsed = clock() - start
                    share = _share_done(run.step + 1, steps_an_epoch, elapsed, options)
                    run.stepped(loss, team.agree(share), elapsed)
                    if on_progress is not None and team.leads:
                        on_progress(run.progress())
                    if run.share >= 1.0:
                        break
                scores = _scores(run.average.net, x_val, replicas, precision)
                # One judgement for all: processes that disagreed would not stop at one epoch.
                accuracy, macro_f1 = (team.agree(figure) for figure in _judge(scores, y_val))
                run.judged(accuracy, macro_f1, precision)
                if on_epoch is not None and team.leads:
                    on_epoch(run.history[-1])
                if checkpoint is not None and team.leads:
                    checkpoint.save(run.state())
            # Calibrated on float32 scores, which is what the exported graph computes.
            best = run.best_net()
            known = _embedding(best, x_val, replicas)
            some = torch.randperm(len(x), generator=chance.manual_seed(options.seed))
            rows = some[:_NOVELTY_MAPS].to(device)
            taught = _embedding(best, x[rows], replicas)
        leads = team.leads

    with torch.inference_mode():
        scores = best.head(known)
    shift = prior_shift(priors or maps.class_counts(), shares).to(device)
    thresholds = _calibrate(best, scores, y_val, shift)
    fit_novelty(best.novelty, taught, y[rows], known, scores)
    all_steps = math.inf if options.epochs is None else options.epochs * steps_an_epoch
    by_patience = run.out_of_patience and run.share < 1.0
    return Trained(
        net=best.cpu(),
        labels=maps.label_names,
        multi_label=maps.multi_label,
        thresholds=thresholds,
        options=options,
        precision=precision,
        device=device.type,
        steps=run.step,
        elapsed_s=clock() - start,
        stopped_by="patience" if by_patience else "epochs" if run.step >= all_steps else "budget",
        history=tuple(run.history),
        leads=leads,
        resumed_at=run.resumed_at,
    )


def _seed(options: TrainOptions, epoch: int, stream: int = 0) -> int:
    """One seed an epoch, so that a run taken up at an epoch's end goes on as if never killed."""
    return int(np.random.SeedSequence([options.seed, epoch, stream]).generate_state(1)[0])


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
    if not available or wanted == "cpu":
        return torch.device("cpu")
    # torchrun tells each of its processes which GPU of the machine is its own.
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


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


def _learner(precision: str, smoothing: float) -> Callable[[nn.Module, Tensor, Tensor], float]:
    """Forward and backward of one share of a batch, returning its loss."""

    def learn(model: nn.Module, maps: Tensor, labels: Tensor) -> float:
        model.train()
        with torch.autocast(maps.device.type, torch.bfloat16, enabled=precision == "bf16"):
            scores = model(maps).float()
        # One yes or no for each pattern, also where maps show one pattern only: it taught more than
        # a softmax in the same time (docs/models.md), and mixed patterns need nothing else.
        wanted = labels if labels.ndim == 2 else functional.one_hot(labels, scores.shape[1])
        target = wanted * (1.0 - smoothing) + smoothing / scores.shape[1]
        loss = functional.binary_cross_entropy_with_logits(scores, target, reduction="sum")
        loss = loss / len(scores)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    return learn


def _precision(
    replicas: Replicas[nn.Module],
    net: WaferMapNet,
    x: Tensor,
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
    maps = x[: options.batch]
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
    net: WaferMapNet, maps: Tensor, replicas: Replicas[nn.Module], precision: str
) -> Tensor:
    """Raw scores (N, C) of one look at each map. In evaluation mode threads may share a network."""

    def score(part: Tensor) -> Tensor:
        # Both modes belong to the thread that sets them.
        with (
            torch.inference_mode(),
            torch.autocast(part.device.type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            return net.logits(part).float()

    return torch.cat(replicas.spread(score, torch.split(maps, _EVAL_BATCH)))


def _embedding(net: WaferMapNet, maps: Tensor, replicas: Replicas[nn.Module]) -> Tensor:
    """Embedding (N, D) of all views, float32, as the exported graph computes it."""

    def embed(part: Tensor) -> Tensor:
        with torch.inference_mode():
            return net.look(part)[1]

    return torch.cat(replicas.spread(embed, torch.split(maps, _EVAL_BATCH)))


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
