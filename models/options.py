"""What can be chosen about a training run, and what it reports while it runs."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from contracts.errors import ConfigError

__all__ = ["Device", "EpochMetrics", "Precision", "Progress", "TrainOptions", "batch_for"]

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bf16", "fp32"]

# With fewer maps than this, batches of the default size leave too few steps (docs/models.md).
_FEW_MAPS, _FEW_BATCH = 20_000, 128


@dataclass(frozen=True)
class TrainOptions:
    """How to train. The defaults are those of docs/models.md.

    Attributes:
        budget_s: stop after this many seconds; None for no limit.
        epochs: stop after this many passes; None for no limit. One of the two must be given.
        backbone: a name in `networks.BACKBONES`, or any convolutional timm model.
        size: S, pixels of the canonical map.
        batch: maps a step.
        learning_rate: at its peak, for AdamW.
        weight_decay: for AdamW, on matrices and kernels.
        label_smoothing: how far a yes or no is from certain.
        ema_decay: of the averaged weights, which are the ones kept.
        balance: classes are drawn in proportion to count ** (1 - balance): 0 as they come, 1 all
            alike. Single labels only.
        turn: share of maps turned by a free angle, see `augment`.
        seed: of weights, draws and augmentation.
        device: 'auto', 'cpu' or 'cuda'; cuda fails rather than train on the CPU.
        precision: 'auto' tries bfloat16 against float32 for a moment and takes the faster.
        views: 1, 4 or 8 turns of a map that are averaged when the model serves, see
            `networks.WaferMapNet`. Training is the same.
        patience: stop after this many epochs without a better validation macro-F1 and keep the
            best; None to follow the schedule to its end, where it usually is best.
        compile: have torch.compile make the backbone's kernels; pays on a GPU in long runs.

    Raises:
        ConfigError: a value outside its range, or neither epochs nor budget.
    """

    budget_s: float | None = 900.0
    epochs: int | None = 120
    backbone: str = "mapnet_s"
    size: int = 64
    batch: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    ema_decay: float = 0.999
    balance: float = 0.5
    turn: float = 0.5
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "auto"
    views: int = 1
    patience: int | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if self.budget_s is None and self.epochs is None:
            raise ConfigError("training needs an end: give epochs, a budget in seconds, or both")
        if self.views not in (1, 4, 8):
            raise ConfigError(f"views must be 1, 4 or 8, it is {self.views}")
        limits: dict[str, tuple[float, float]] = {
            "budget_s": (1.0, float("inf")),
            "epochs": (1, float("inf")),
            "size": (16, 1024),
            "batch": (2, 65536),
            "learning_rate": (1e-7, 1.0),
            "weight_decay": (0.0, 1.0),
            "label_smoothing": (0.0, 0.5),
            "ema_decay": (0.0, 0.99999),
            "balance": (0.0, 1.0),
            "turn": (0.0, 1.0),
            "patience": (1, float("inf")),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} must lie between {low:g} and {high:g}, it is {value}")

    def params(self) -> dict[str, Any]:
        """All of it, for a tracking run."""
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """Where training stands, after each step.

    Attributes:
        epoch: from 1.
        step: steps done in all.
        share: of the schedule that is done, 0 to 1.
        loss: running mean of the training loss.
        elapsed_s: since the start.
        eta_s: seconds left at this pace.
        maps_per_s: over the whole of training.
    """

    epoch: int
    step: int
    share: float
    loss: float
    elapsed_s: float
    eta_s: float
    maps_per_s: float


def batch_for(maps: int) -> int:
    """The size of a batch (`TrainOptions.batch`) that suits so many maps to learn from."""
    return _FEW_BATCH if maps < _FEW_MAPS else TrainOptions.batch


@dataclass(frozen=True)
class EpochMetrics:
    """What is known after an epoch, on the validation part and with averaged weights."""

    epoch: int
    step: int
    elapsed_s: float
    loss: float
    validation_accuracy: float
    validation_macro_f1: float

    def metrics(self) -> dict[str, float]:
        """The numbers alone, for a tracking run."""
        return {
            "loss": self.loss,
            "validation_accuracy": self.validation_accuracy,
            "validation_macro_f1": self.validation_macro_f1,
        }
