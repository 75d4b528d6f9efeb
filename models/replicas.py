"""Data parallel training over threads of one process, for CPUs.

Each thread works on its share of a batch with a copy of the network that shares the weights, one
core each, and they meet once a step. The alternative, every operation spread over all cores, meets
hundreds of times a step and waits by spinning: on two cores it is a quarter slower when the
machine is idle, and beside other busy processes it was seen to fall to a twentieth of its speed
(docs/models.md).
"""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Replicas", "one_core", "usable_cores"]

Net = TypeVar("Net", bound=nn.Module)
Item = TypeVar("Item")
Result = TypeVar("Result")
_SMALLEST_SHARE = 32  # maps; below this, batch-norm statistics get noisy


def usable_cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_core() -> Iterator[None]:
    """Torch works on one core inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Replicas(Generic[Net]):
    """Copies of a network that share its weights but neither gradients nor batch statistics.

    Use as a context manager; it sets torch's number of threads and puts it back.

    Args:
        net: the network; it is the first replica.
        batch: maps a step, which limits the number of replicas.
        parallel: False for one replica with all cores or a GPU to itself.
    """

    def __init__(self, net: Net, batch: int, *, parallel: bool) -> None:
        cores = usable_cores()
        count = max(1, min(cores, batch // _SMALLEST_SHARE, 8)) if parallel else 1
        self._nets = [net, *(_sharing(net) for _ in range(count - 1))]
        self._threads_each = max(1, cores // count)
        self._threads_before = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._nets)

    def __enter__(self) -> Self:
        torch.set_num_threads(self._threads_each)
        self._pool = ThreadPoolExecutor(len(self._nets), thread_name_prefix="replica")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        torch.set_num_threads(self._threads_before)

    def learn(
        self, task: Callable[[Net, Tensor, Tensor], float], maps: Tensor, labels: Tensor
    ) -> float:
        """Run `task` on each replica's share; leave the mean gradient in the network.

        Args:
            task: forward and backward of one share; returns its mean loss.
            maps: (N, ...), split evenly.
            labels: (N, ...), split alike.

        Returns:
            The mean loss.
        """
        for net in self._nets:
            net.zero_grad(set_to_none=True)
        shares = list(zip(maps.chunk(len(self._nets)), labels.chunk(len(self._nets)), strict=True))
        used = self._nets[: len(shares)]
        losses = self.spread(
            lambda pair: task(pair[0], *pair[1]), list(zip(used, shares, strict=True))
        )
        weights = [len(share) / len(maps) for share, _ in shares]
        for parameters in zip(*(net.parameters() for net in used), strict=True):
            first = parameters[0].grad
            if first is None:
                continue
            first.mul_(weights[0])
            for parameter, weight in zip(parameters[1:], weights[1:], strict=True):
                if parameter.grad is not None:
                    first.add_(parameter.grad, alpha=weight)
        return sum(loss * weight for loss, weight in zip(losses, weights, strict=True))

    def spread(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Run `task` on every item, as many at a time as there are replicas, results in order."""
        if self._pool is None:
            return [task(item) for item in items]
        return list(self._pool.map(task, items))


def _sharing(net: Net) -> Net:
    """A copy whose parameters are the same memory."""
    twin = copy.deepcopy(net)
    for ours, theirs in zip(twin.parameters(), net.parameters(), strict=True):
        ours.data = theirs.data
    return twin
