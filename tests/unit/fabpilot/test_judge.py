"""The judge counts what the issue asks for, and counts against us where it should."""

from pathlib import Path

import msgspec
import pytest

from contracts.codec import encode
from contracts.events import Alert, Prediction
from contracts.records import Message
from fab_sim import TrueExcursion
from fabpilot.judge import judge_alerts, judge_run
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from tests.factories import sample_events, wafer_map

ALERT = sample_events()["fabpilot.alert.v1"]
PREDICTION = sample_events()["fabpilot.prediction.v1"]


def excursion(module: str, pattern: str = "Edge-Ring", onset_ms: int = 0) -> TrueExcursion:
    equipment, module_id = module.split("/")
    return TrueExcursion(
        excursion_id=module, mode="m", equipment_id=equipment, module_id=module_id, module=module,
        pattern=pattern, onset_ms=onset_ms, affected=5,
    )  # fmt: skip


def alert(module: str, pattern: str = "Edge-Ring", alert_id: str = "a", at: int = 100) -> Alert:
    assert isinstance(ALERT, Alert)
    return msgspec.structs.replace(
        ALERT, event_id=f"e-{alert_id}", alert_id=alert_id, suspect_module=module, pattern=pattern,
        time_ms=at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("alerts", "detected", "false"),
    [
        ([], 0, 0),
        ([alert("ETCH-01/A")], 1, 0),
        ([alert("ETCH-01/A", alert_id="a"), alert("ETCH-01/A", alert_id="b")], 1, 0),
        ([alert("ETCH-02/A")], 0, 1),
        ([alert("ETCH-01/A", at=5)], 0, 1),  # before the onset nothing can be known
        ([alert("", pattern="Edge-Ring")], 0, 0),  # inconclusive about a real excursion
        ([alert("", pattern="Donut")], 0, 1),
    ],
)
def test_alerts_against_the_truth(alerts: list[Alert], detected: int, false: int) -> None:
    truth = [excursion("ETCH-01/A", onset_ms=10)]
    assert judge_alerts(alerts, truth) == (detected, false)


def prediction_of(index: int, version: str = "1") -> Prediction:
    assert isinstance(PREDICTION, Prediction)
    return msgspec.structs.replace(
        PREDICTION, event_id=f"p-{index}-{version}", input_id=f"map-{index}", model_version=version
    )


def test_a_run_is_judged_from_its_log(tmp_path: Path) -> None:
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    log.append([encode(wafer_map(index)) for index in range(4)])
    log.append([encode(prediction_of(index)) for index in (0, 1, 1, 2)])
    log.append([encode(alert("ETCH-01/A"))])
    log.append([Message("fab.kr1.alerts", b"", b"noise", (("ce_type", b"nonsense"),))])
    truth = [excursion("ETCH-01/A"), msgspec.structs.replace(excursion("CMP-01/A"), affected=0)]
    report = judge_run(log, "kr1", truth, seed=3, seconds=1.5)
    log.close()
    assert (report.wafers, report.predictions) == (4, 4)
    assert (report.unpredicted, report.doubled) == (1, 1)
    assert (report.true_excursions, report.detected_excursions, report.false_alerts) == (1, 1, 0)
    assert report.model_version == "1"
    assert 0 <= report.latency_ms.p50 <= report.latency_ms.p99


def test_an_empty_log_is_judged_too(tmp_path: Path) -> None:
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    report = judge_run(log, "kr1", [], seed=0, seconds=0.0)
    log.close()
    assert (report.wafers, report.wafers_per_s, report.latency_ms.p99) == (0, 0.0, 0.0)
