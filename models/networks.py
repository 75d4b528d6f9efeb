"""The network: a timm backbone, one head, and everything a server would otherwise have to know.

`WaferMapNet` takes canonical maps as they are (uint8) and returns probabilities, an embedding and a
heatmap; channels, pooling and calibration live inside, so that one exported graph is the model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import timm
import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn import functional

from contracts.errors import ConfigError
from models.novelty import Novelty

__all__ = [
    "BACKBONES",
    "Outputs",
    "Scores",
    "WaferMapNet",
    "make_backbone",
    "turned",
    "turned_back",
]


def _narrow_resnet(channels: tuple[int, int, int, int], stem_width: int) -> nn.Module:
    """A ResNet (He et al., 2016) of one block a stage, no coarser than a pixel in eight.

    Wafer maps have no texture to learn, so a tenth of a ResNet-18's channels is enough, and dense
    3x3 convolutions run faster on a CPU than the depthwise ones of mobile networks. Its last two
    stages keep the resolution and widen their view by dilation instead, for a heatmap of 8x8 at 64.
    """
    return ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm means the class
        (1, 1, 1, 1),
        channels=channels,
        stem_type="deep",
        stem_width=stem_width,
        output_stride=8,
        num_classes=0,
        global_pool="",
    )


# Name to factory. Any other name is looked up in timm.
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "mapnet_xs": lambda: _narrow_resnet((16, 24, 32, 48), 8),
    "mapnet_s": lambda: _narrow_resnet((32, 48, 64, 96), 16),
    "mapnet_m": lambda: _narrow_resnet((32, 64, 96, 128), 16),
}


def make_backbone(name: str) -> nn.Module:
    """A backbone whose `forward_features` gives (N, D, h, w), with random weights.

    Names in `BACKBONES` are ours. Any other is a timm model; it is asked for a stride of 8 and
    keeps its own where it cannot (its heatmap is then coarse: 2x2 at 64 pixels for stride 32).

    Raises:
        ConfigError: neither we nor timm know the name, or the model is not convolutional.
    """
    if name in BACKBONES:
        return BACKBONES[name]()
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise ConfigError(
            f"no backbone {name!r}: ours are {', '.join(BACKBONES)}; timm has"
            f" {', '.join(close) if close else 'many more, see timm.list_models()'}"
        )
    options: dict[str, Any] = {"num_classes": 0, "global_pool": "", "pretrained": False}
    try:
        model: nn.Module = timm.create_model(name, output_stride=8, **options)
    except (TypeError, AssertionError, NotImplementedError):
        model = timm.create_model(name, **options)
    return model


class Outputs(NamedTuple):
    """What the graph returns, float32: `contracts.model_file.OUTPUT_NAMES` in order, then novelty.

    Attributes:
        probabilities: (N, C), summing to 1, or independent if multi-label.
        embedding: (N, D), the pooled features.
        heatmap: (N, h, w) in 0..1, where the evidence for a pattern is.
        novelty: (N,) in 0..2, see `models.novelty`.
    """

    probabilities: Tensor
    embedding: Tensor
    heatmap: Tensor
    novelty: Tensor


# Kinds of known maps that novelty compares with: more than MixedWM38 has combinations of patterns.
_KINDS = 64
# Symmetries of the square, numbered as in `augment.dihedral`: the quarter turns, then mirrors.
_ELEMENTS = (0, 3, 5, 6, 1, 2, 4, 7)


def turned(maps: Tensor, element: int) -> Tensor:
    """`maps` (..., S, S) under a symmetry of the square; see `models.augment.dihedral`."""
    if element & 1:
        maps = maps.flip(-1)
    if element & 2:
        maps = maps.flip(-2)
    return maps.transpose(-1, -2) if element & 4 else maps


def turned_back(maps: Tensor, element: int) -> Tensor:
    """The inverse of `turned`."""
    if element & 4:
        maps = maps.transpose(-1, -2)
    if element & 2:
        maps = maps.flip(-2)
    return maps.flip(-1) if element & 1 else maps


class WaferMapNet(nn.Module):
    """Canonical maps in, probabilities, embedding and heatmap out.

    Args:
        backbone: a name for `make_backbone`.
        classes: C.
        multi_label: independent probabilities rather than one distribution.
        none_index: which class is 'None' (no pattern), if any; it gets no heatmap.
        views: quarter turns (4), also mirrored (8), of a map that are looked at and averaged when
            the network serves; 1 looks once. A wafer has no up, so each is as good as the others,
            and their mean is surer; the price is as many times the arithmetic.
    """

    temperature: Tensor
    bias: Tensor
    not_none: Tensor

    def __init__(
        self,
        backbone: str,
        classes: int,
        *,
        multi_label: bool = False,
        none_index: int | None = None,
        views: int = 1,
    ) -> None:
        super().__init__()
        self.views = views
        self.backbone_name = backbone
        self.multi_label = multi_label
        self.backbone = make_backbone(backbone)
        self.head = nn.Linear(2 * self._feature_channels(), classes)
        self.novelty = Novelty(self.head.in_features, max(_KINDS, classes))
        # Calibration (Guo et al., 2017, with a shift per class for the sampling): see calibrate.py.
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("bias", torch.zeros(classes))
        patterns = torch.ones(classes)
        if none_index is not None:
            patterns[none_index] = 0.0
        self.register_buffer("not_none", patterns)

    @torch.no_grad()
    def _feature_channels(self) -> int:
        """D, found by trying: timm's models disagree on where they say it."""
        try:
            features = self.backbone.eval().forward_features(  # type: ignore[operator]
                torch.zeros(1, 3, 64, 64)
            )
        except (AssertionError, RuntimeError) as error:
            raise ConfigError(f"{self.backbone_name} cannot take 64x64 maps: {error}") from error
        self.backbone.train()
        if features.ndim != 4:
            raise ConfigError(
                f"{self.backbone_name} gives features {tuple(features.shape)}; a heatmap needs a"
                " convolutional network with (N, D, h, w)"
            )
        return int(features.shape[1])

    @staticmethod
    def channels(maps: Tensor) -> Tensor:
        """Three channels (N, 3, S, S) float32 in 0..1 from canonical maps (N, S, S) uint8.

        On the wafer; share of failing dies; any failing die. The last one keeps a scratch one die
        wide as bright as a blob, however many dies share its pixel.
        """
        values = maps.to(torch.float32)
        on_wafer = (values > 0).to(torch.float32)
        share = ((values - 1.0) / 254.0).clamp(min=0.0)
        touched = (values > 1).to(torch.float32)
        return torch.stack((on_wafer, share, touched), dim=1)

    def features(self, maps: Tensor) -> Tensor:
        """The last feature map, (N, D, h, w)."""
        images = self.channels(maps).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.backbone.forward_features(images)  # type: ignore[operator]
        return features

    @staticmethod
    def pool(features: Tensor) -> Tensor:
        """Mean and maximum over places, (N, 2 D): how much there is, and whether it is anywhere.

        A mean alone dilutes a short scratch or a small cluster by the rest of the wafer.
        """
        return torch.cat((features.mean(dim=(2, 3)), features.amax(dim=(2, 3))), dim=1)

    def logits(self, maps: Tensor) -> Tensor:
        """Raw scores (N, C) of one look, for training, before calibration."""
        scores: Tensor = self.head(self.pool(self.features(maps)))
        return scores

    def look(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D, h, w) and embedding (N, 2 D), averaged over the views.

        The features are turned back before they are averaged, so places stay places.
        """
        if self.views == 1:
            features = self.features(maps)
            return features, self.pool(features)
        elements = _ELEMENTS[: self.views]
        seen = self.features(torch.cat([turned(maps, element) for element in elements]))
        parts = seen.reshape(len(elements), -1, *seen.shape[1:])
        embedding = self.pool(seen).reshape(len(elements), -1, 2 * seen.shape[1]).mean(dim=0)
        back = [turned_back(part, element) for part, element in zip(parts, elements, strict=True)]
        return torch.stack(back).mean(dim=0), embedding

    def forward(self, maps: Tensor) -> Outputs:
        """What a server gets.

        Args:
            maps: (N, S, S) uint8, see `contracts.wafer_map`.
        """
        features, embedding = self.look(maps)
        # The head is linear: of the mean embedding it gives the mean of the scores.
        raw = self.head(embedding)
        scores = raw / self.temperature + self.bias
        probabilities = torch.sigmoid(scores) if self.multi_label else torch.softmax(scores, dim=1)
        heatmap = self._heatmap(features, probabilities, maps)
        return Outputs(probabilities, embedding, heatmap, self.novelty(embedding, raw))

    def _heatmap(self, features: Tensor, probabilities: Tensor, maps: Tensor) -> Tensor:
        """Class activation map (Zhou et al., 2016) of the patterns the model sees.

        The weights of each pattern, mixed by its probability, applied at every place instead of to
        the pooled features. A place sees far beyond itself (an arc at the edge excites the middle
        too), so the map is weighed with the share of dies that failed at the place: it shows the
        failing dies that made the model say so. Scaled to 0..1 within a map, then dimmed by how
        sure the model is that there is a pattern at all; a map without one stays dark.
        """
        weight = probabilities * self.not_none
        sure = weight.amax(dim=1)
        # Only differences between classes move a softmax: the mean of the weights is no evidence.
        direction = self.head.weight - self.head.weight.mean(dim=0, keepdim=True)
        # Mean and maximum see the same features, so their weights add up at a place.
        mean_part, max_part = (weight @ direction).chunk(2, dim=1)
        mixed = (mean_part + max_part)[:, :, None, None]
        heat = torch.relu((features * mixed).sum(dim=1))
        # int(): a constant in the exported graph, whose maps all have one size.
        places = (int(heat.shape[1]), int(heat.shape[2]))
        on_wafer, share, _ = functional.adaptive_avg_pool2d(self.channels(maps), places).unbind(1)
        heat = heat * share / on_wafer.clamp(min=1e-3)
        peak = heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
        return heat / peak * sure[:, None, None]


class Scores(nn.Module):
    """A network as training sees it: maps in, raw scores out.

    A module of its own because that is what torch's DistributedDataParallel wraps.

    Args:
        net: shares its weights.
    """

    def __init__(self, net: WaferMapNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, maps: Tensor) -> Tensor:
        """(N, S, S) uint8 to (N, C)."""
        return self.net.logits(maps)
