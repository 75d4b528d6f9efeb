"""Random streams that come from names, so that any of them can be skipped without moving others."""

import hashlib
import random

import numpy as np

__all__ = ["generator", "logic_random"]


def _seed(parts: tuple[str | int, ...]) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def generator(*parts: str | int) -> np.random.Generator:
    """A numpy stream that depends on `parts` alone: for what is drawn (maps, traces).

    >>> bool(generator("map", 1).random() == generator("map", 1).random())
    True
    """
    return np.random.Generator(np.random.PCG64(_seed(parts)))


def logic_random(*parts: str | int) -> random.Random:
    """A standard-library stream: for what happens on the floor, one number at a time."""
    return random.Random(_seed(parts))
