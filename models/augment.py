"""Augmentation of canonical maps: a wafer has no up, and no two testers agree on left.

Everything works on a whole batch of uint8 maps and gives canonical maps again, so the network
trains on exactly the kind of input it will serve.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["dihedral", "random_views", "rotate"]


def random_views(maps: Tensor, generator: torch.Generator, *, turn: float = 0.5) -> Tensor:
    """Each map flipped and turned at random.

    Args:
        maps: (N, S, S) uint8.
        generator: the only source of chance.
        turn: share of the maps that are also turned by a free angle. The others keep their pixels
            as the tester drew them, so the network sees those too.

    Returns:
        (N, S, S) uint8.
    """
    # Drawn on the CPU wherever the maps are: a seed means the same on every device.
    elements = torch.randint(8, (len(maps),), generator=generator)
    turned = torch.rand(len(maps), generator=generator) < turn
    angles = torch.rand(int(turned.sum()), generator=generator) * (2 * math.pi)
    maps = dihedral(maps, elements.to(maps.device))
    if len(angles):
        turned = turned.to(maps.device)
        maps[turned] = rotate(maps[turned], angles.to(maps.device))
    return maps


def dihedral(maps: Tensor, element: Tensor) -> Tensor:
    """Each map under one of the eight symmetries of the square.

    Args:
        maps: (N, S, S).
        element: (N,) of 0..7; bit 0 flips columns, bit 1 flips rows, bit 2 transposes.
    """
    out = maps.clone()
    flip_columns, flip_rows, transpose = (((element >> bit) & 1).bool() for bit in range(3))
    out[flip_columns] = out[flip_columns].flip(2)
    out[flip_rows] = out[flip_rows].flip(1)
    out[transpose] = out[transpose].transpose(1, 2)
    return out


def rotate(maps: Tensor, angles: Tensor) -> Tensor:
    """Each map turned about its centre, nearest pixel, so that the codes stay codes.

    Args:
        maps: (N, S, S) uint8.
        angles: (N,) in radians.
    """
    cos, sin = torch.cos(angles), torch.sin(angles)
    zero = torch.zeros_like(cos)
    matrix = torch.stack(
        (torch.stack((cos, -sin, zero), dim=1), torch.stack((sin, cos, zero), dim=1)), dim=1
    )
    grid = functional.affine_grid(matrix, [len(maps), 1, *maps.shape[1:]], align_corners=False)
    turned = functional.grid_sample(
        maps[:, None].to(torch.float32), grid, mode="nearest", align_corners=False
    )
    return turned[:, 0].to(torch.uint8)
