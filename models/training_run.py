"""What changes while a network is trained, and the step at which it stands."""

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from models.average import WeightAverage
from models.networks import WaferMapNet
from models.options import EpochMetrics, Progress, TrainOptions

__all__ = ["TrainingRun"]


class TrainingRun:
    """What changes while a network is trained: all that a checkpoint holds.

    Args:
        net: on its device.
        options: of the run.
        state: from `state()` of a run that was killed; empty to begin.
    """

    def __init__(self, net: WaferMapNet, options: TrainOptions, state: dict[str, Any]) -> None:
        self.net = net
        self.average = WeightAverage(net, options.ema_decay)
        self.optimizer = torch.optim.AdamW(_parameter_groups(net, options.weight_decay), lr=0.0)
        self.step, self.share, self.elapsed_s = 0, 0.0, 0.0
        self.precision = ""
        self.history: list[EpochMetrics] = []
        self._loss = math.nan
        self._batch = options.batch
        self._patience = options.patience
        self._best: dict[str, Tensor] = {}
        if state:
            net.load_state_dict(state["net"])
            self.average.net.load_state_dict(state["average"])
            self.average.updates = state["step"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.share = state["step"], state["share"]
            self.elapsed_s, self._loss = state["elapsed_s"], state["loss"]
            self.precision, self._best = state["precision"], state["best"]
            self.history = [EpochMetrics(**epoch) for epoch in state["history"]]
        self.resumed_at = len(self.history)

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "share": self.share,
            "elapsed_s": self.elapsed_s,
            "loss": self._loss,
            "precision": self.precision,
            "best": self._best,
            "history": [asdict(epoch) for epoch in self.history],
        }

    def stepped(self, loss: float, share: float, elapsed_s: float) -> None:
        """After a step: its loss, and where the schedule stands."""
        self.step += 1
        self.share, self.elapsed_s = share, elapsed_s
        self._loss = loss if math.isnan(self._loss) else 0.98 * self._loss + 0.02 * loss

    def progress(self) -> Progress:
        """For whoever watches."""
        left = self.elapsed_s * (1.0 - self.share) / self.share
        pace = self.step * self._batch / max(self.elapsed_s, 1e-9)
        epoch = len(self.history) + 1
        return Progress(epoch, self.step, self.share, self._loss, self.elapsed_s, left, pace)

    def judged(self, accuracy: float, macro_f1: float, precision: str) -> None:
        """After an epoch: how good the averaged weights are on the validation part."""
        self.precision = precision
        if self._patience is not None and macro_f1 > self._best_f1():
            self._best = {k: v.clone() for k, v in self.average.net.state_dict().items()}
        number = len(self.history) + 1
        self.history.append(
            EpochMetrics(number, self.step, self.elapsed_s, self._loss, accuracy, macro_f1)
        )

    def _best_f1(self) -> float:
        return max((epoch.validation_macro_f1 for epoch in self.history), default=-math.inf)

    @property
    def out_of_patience(self) -> bool:
        """No epoch has been better for too long."""
        if self._patience is None or not self.history:
            return False
        scores = [epoch.validation_macro_f1 for epoch in self.history]
        return len(scores) - 1 - scores.index(max(scores)) >= self._patience

    def best_net(self) -> WaferMapNet:
        """The averaged weights; with patience, those of the best epoch."""
        if self._best:
            self.average.net.load_state_dict(self._best)
        return self.average.net


def _parameter_groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Kernels and matrices decay; biases and batch-norm scales do not."""
    parameters = list(net.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
