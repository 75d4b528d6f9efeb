"""Processors and brokers killed on a real Kafka. Full size: `python -m bench.kill`."""

import argparse
from pathlib import Path

import pytest

from bench.kill import kill_brokers, kill_processor
from tests.command_line import npz
from tests.factories import wafer_grid
from tests.kafka_server import missing

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def maps(folder: Path, count: int) -> str:
    return str(npz(folder / "maps.npz", [wafer_grid(26, 26, 0.1, i) for i in range(count)]))


@pytest.mark.parametrize("processors", [1, 3])
def test_killed_processors_leave_one_prediction_per_map(
    tmp_path: Path, kafka_brokers: str, processors: int
) -> None:
    options = argparse.Namespace(
        log=f"kafka://{kafka_brokers}",
        data=maps(tmp_path, 3000),
        model="",
        wafers=3000,
        kills=4,
        processors=processors,
        seed=1,
    )
    result = kill_processor(tmp_path, options)
    assert result["predictions"] == result["maps"] == 3000
    assert (result["missing"], result["doubled"], result["dead_letters"]) == (0, 0, 0)
    assert (result["disordered_keys"], result["redone"]) == (0, 0)
    assert result["kills"] == 4
    assert result["good"], result


def test_killed_brokers_cost_no_prediction(tmp_path: Path) -> None:
    if problem := missing(own=True):
        pytest.skip(problem)
    options = argparse.Namespace(
        data=maps(tmp_path, 1200),
        model="",
        wafers=1200,
        kills=2,
        nodes=3,
        processors=1,
        seed=1,
    )
    result = kill_brokers(tmp_path, options)
    assert result["predictions"] == result["maps"] == 1200
    assert (result["missing"], result["doubled"], result["dead_letters"]) == (0, 0, 0)
    assert result["disordered_keys"] == 0
    assert result["broker_kills"] == 2
    assert result["good"], result
