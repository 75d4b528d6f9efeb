import urllib.request
from pathlib import Path

import pytest

from contracts.codec import encode
from contracts.errors import ConfigError
from fabpilot.metrics import ProcessorMetrics, serve_metrics
from streaming.deadline import Deadline
from streaming.embedded import EmbeddedLog
from streaming.processor import ProcessorReport
from tests.stream_helpers import MAPS, publish, wafer


def shown(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def test_throughput_dead_letters_and_the_groups_lag_are_shown(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    publish(log, [encode(wafer(number)) for number in range(100)])
    metrics = ProcessorMetrics("g", "kr1")
    with serve_metrics(metrics, log, "g", [MAPS], 0) as port:
        metrics(ProcessorReport(consumed=10, produced=9, dead_letters=1))
        metrics(ProcessorReport(consumed=30, produced=28, dead_letters=2))
        deadline = Deadline(30.0)
        lag = 0.0
        while lag != 100 and not deadline.passed:
            values = shown(port)
            lag = sum(v for name, v in values.items() if name.startswith("fabpilot_group_lag"))
        assert lag == 100
        where = '{group="g",site="kr1"}'
        assert values[f"fabpilot_records_consumed_total{where}"] == 30
        assert values[f"fabpilot_events_produced_total{where}"] == 28
        assert values[f"fabpilot_dead_letters_total{where}"] == 2
        with (
            pytest.raises(ConfigError, match="FABPILOT_METRICS_PORT"),
            serve_metrics(metrics, log, "g", [MAPS], port),
        ):
            pass
    log.close()
