"""Several processes that train one network, as `torchrun` starts them: one a GPU, or one a core.

Each process takes its share of every batch; torch's DistributedDataParallel averages the gradients.
Only the first one speaks: it reports, keeps checkpoints and registers the model.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from contracts.errors import ConfigError

__all__ = ["Team", "join_team"]


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that speaks."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch; all parts are equally long, or the collective hangs."""
        if self.size == 1:
            return rows
        usable = len(rows) - len(rows) % self.size
        return rows[self.rank : usable : self.size]

    def agree(self, value: float) -> float:
        """The first process's number: clocks differ, and all must stop at one step."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64, device=_collective_device())
        dist.broadcast(number, src=0)
        return float(number.item())

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """`model` with gradients averaged over the team; itself where there is no team."""
        if self.size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)


@contextmanager
def join_team(device: torch.device) -> Iterator[Team]:
    """The team that `torchrun` announces in the environment; a team of one without it.

    Args:
        device: where this process trains: NCCL between GPUs, gloo between CPUs.

    Raises:
        ConfigError: torchrun's variables contradict each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            "WORLD_SIZE is set but RANK or MASTER_ADDR is not: start several processes with"
            " 'torchrun --nproc-per-node N -m fabpilot train …', or unset WORLD_SIZE"
        )
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _collective_device() -> torch.device:
    # NCCL moves GPU memory only.
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", local) if dist.get_backend() == "nccl" else torch.device("cpu")
