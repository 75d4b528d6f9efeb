"""The weights of a network for training on, as a safetensors file: numbers and names, no code.

An exported model cannot be trained further: its batch normalisation is folded away. So every run
keeps its weights beside the model, and another run may start from them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from contracts.errors import ModelFileError
from models.networks import WaferMapNet

__all__ = ["WEIGHTS_FILE", "Weights", "load_weights", "save_weights", "start_from"]

WEIGHTS_FILE = "weights.safetensors"
_FORMAT = "fabpilot.weights.1"


@dataclass(frozen=True)
class Weights:
    """A trained network's weights and what they mean.

    Attributes:
        backbone: the name it was made by.
        labels: the classes of its head, in order.
        tensors: by their name in `WaferMapNet.state_dict()`.
    """

    backbone: str
    labels: tuple[str, ...]
    tensors: dict[str, Tensor]


def save_weights(net: WaferMapNet, labels: tuple[str, ...], path: Path) -> None:
    """Write a network's weights.

    Args:
        net: trained.
        labels: the C classes of its head.
        path: of the file.
    """
    about = {"format": _FORMAT, "backbone": net.backbone_name, "labels": json.dumps(labels)}
    tensors = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, path, metadata=about)


def load_weights(path: Path) -> Weights:
    """Read what `save_weights` wrote.

    Raises:
        ModelFileError: the file is missing, damaged or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT:
                raise ModelFileError(
                    f"{path.name} does not hold fabpilot weights; name a run's weights.safetensors"
                )
            labels = tuple(str(label) for label in json.loads(about["labels"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Weights(about["backbone"], labels, tensors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"{path} cannot be read as weights ({error}); name a registered model or a"
            f" {WEIGHTS_FILE} of a run"
        ) from error


@torch.no_grad()
def start_from(net: WaferMapNet, labels: tuple[str, ...], weights: Weights) -> None:
    """Give `net` the weights of another, class by class.

    The backbone is taken whole. A class that both know keeps its row of the head; a new one starts
    at the mean of the known rows, so that it is neither likelier nor less likely than they are.

    Args:
        net: with random weights.
        labels: the C classes of its head.
        weights: of a network with the same backbone.

    Raises:
        ModelFileError: the backbones differ.
    """
    if weights.backbone != net.backbone_name:
        raise ModelFileError(
            f"these weights are of {weights.backbone}, the network to train is"
            f" {net.backbone_name}: train with --backbone {weights.backbone}"
        )
    ours = net.state_dict()
    body = {name: value for name, value in weights.tensors.items() if name.startswith("backbone.")}
    wanted = {name for name in ours if name.startswith("backbone.")}
    if set(body) != wanted or any(body[name].shape != ours[name].shape for name in wanted):
        raise ModelFileError(
            f"these weights are of another {weights.backbone} than today's: train from scratch"
        )
    net.load_state_dict(body, strict=False)
    rows, bias = weights.tensors["head.weight"], weights.tensors["head.bias"]
    known = {label: number for number, label in enumerate(weights.labels)}
    for number, label in enumerate(labels):
        source = known.get(label)
        net.head.weight[number] = rows.mean(dim=0) if source is None else rows[source]
        net.head.bias[number] = bias.mean() if source is None else bias[source]
