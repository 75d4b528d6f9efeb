import threading
import time
from typing import Any

import numpy as np
import pytest

from fabpilot.benchmarks.timing import cores, interleaved, maps_per_s

MAPS = np.zeros((8, 16, 16), dtype=np.uint8)


def test_every_contender_has_a_turn_in_every_round() -> None:
    order: list[str] = []
    rates = iter((9.0, 2.0, 4.0, 3.0, 2.0, 1.0))

    def contender(name: str) -> Any:
        def turn() -> float:
            order.append(name)
            return next(rates)

        return turn

    timed = interleaved({"a": contender("a"), "b": contender("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert timed.best == {"a": 4.0, "b": 3.0}  # the first turn, a's fastest, only warms up
    assert timed.cores_got >= 0


def test_maps_a_second_counts_all_callers() -> None:
    seen: set[int] = set()

    def run(maps: np.ndarray) -> None:
        seen.add(threading.get_ident())
        time.sleep(0.02)

    rate = maps_per_s(run, MAPS, callers=3, seconds=0.1)
    assert len(seen) == 3
    # Three callers, each at most 50 batches of 8 a second; a busy machine sleeps longer.
    assert 0 < rate <= 3 * 50 * 8


def test_an_error_of_a_caller_is_told() -> None:
    def run(maps: np.ndarray) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        maps_per_s(run, MAPS, callers=2, seconds=0.01)


def test_there_is_a_core() -> None:
    assert cores() >= 1
