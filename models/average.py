"""An exponential moving average of a network's weights, which is the network that is kept."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

__all__ = ["WeightAverage"]

Net = TypeVar("Net", bound=nn.Module)


class WeightAverage(Generic[Net]):
    """Follows a network (Polyak averaging), its batch-norm statistics included.

    The decay rises with the number of updates, (1 + n) / (10 + n) up to `decay`, so that a short
    run does not keep its random first weights.

    Args:
        net: the network to follow.
        decay: of one update.

    Attributes:
        net: the average.
        updates: how many it has followed.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self.net: Net = copy.deepcopy(net).eval().requires_grad_(False)
        self._decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move a little towards `net`."""
        self.updates += 1
        weight = 1.0 - min(self._decay, (1 + self.updates) / (10 + self.updates))
        ours, theirs = self.net.state_dict(), net.state_dict()
        floats = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[n] for n in floats], [theirs[n] for n in floats], weight)
        for name in ours.keys() - set(floats):
            ours[name].copy_(theirs[name])
