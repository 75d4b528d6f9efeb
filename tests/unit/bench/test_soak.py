"""What a soak judges by: memory over the hours, decisions on the log, what its supervisor does."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.soak_log import decisions, fab_digest
from bench.soak_memory import Sample, judge, resident_mib
from bench.soak_registry import Outage
from bench.soak_services import Supervisor
from contracts.codec import encode
from contracts.events import Alert
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from tests.factories import sample_events, wafer_map


class Fake:
    """A service that is no process."""

    def __init__(self, name: str) -> None:
        self.name, self.finished, self.pid, self.starts = name, False, 0, 0

    def start(self) -> None:
        self.starts += 1
        self.pid = self.starts

    def kill(self) -> None:
        self.pid = 0


def hours(*most: float, pid: int = 1) -> list[Sample]:
    return [
        Sample("console", hour + part / 4, pid, mib - part)
        for hour, mib in enumerate(most)
        for part in range(4)
    ]


def test_memory_that_stays_is_flat_however_it_began() -> None:
    found = judge(hours(10, 90, *[100.0] * 20), warm_up_h=2)
    assert found.flat
    assert (found.first, found.last, found.growth, found.slope) == (100, 100, 1, 0)


def test_memory_that_grows_is_not() -> None:
    found = judge(hours(*(100.0 + hour for hour in range(24))), warm_up_h=2)
    assert not found.flat
    assert found.slope == pytest.approx(1.0)
    assert found.growth_in_it > 1.1


def test_a_start_in_between_hides_no_growth() -> None:
    before, after = hours(*[100.0] * 10), hours(*[120.0] * 10, pid=2)
    later = [Sample("console", one.hour + 10, one.pid, one.mib) for one in after]
    found = judge([*before, *later], warm_up_h=0)
    assert not found.flat
    assert found.growth == 1.2
    assert found.growth_in_it == 1.0


def test_memory_of_one_hour_says_nothing() -> None:
    with pytest.raises(ValueError, match="too few hours"):
        judge(hours(100.0), warm_up_h=0)


def test_memory_that_a_process_takes_is_seen() -> None:
    before = resident_mib(os.getpid())
    taken = b"x" * (64 << 20)
    assert 60 < resident_mib(os.getpid()) - before < 80
    assert len(taken) == 64 << 20
    assert resident_mib(0) == 0


def test_the_supervisor_starts_what_ended_and_tells_a_kill_from_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.soak_services._BACKOFF_S", 0.0)
    one, other = Fake("console"), Fake("fab")
    supervisor = Supervisor([one, other])
    supervisor.kill("console")
    other.pid = 0
    supervisor.look()
    assert (one.starts, other.starts) == (2, 2)
    assert supervisor.ended_by_itself == {"fab": 1}
    other.pid, other.finished = 0, True
    supervisor.look()
    assert other.starts == 2


def test_who_is_held_stays_away_until_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.soak_services._BACKOFF_S", 0.0)
    one = Fake("mlflow")
    supervisor = Supervisor([one])
    supervisor.kill("mlflow")
    supervisor.hold("mlflow")
    supervisor.look()
    assert one.starts == 1
    supervisor.release("mlflow")
    supervisor.look()
    assert one.starts == 2
    assert not supervisor.ended_by_itself


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"predictions": {}}, True),
        # Scored by another version; began with another; nobody followed, one not, one late.
        ({"predictions": {"1": 5, "2": 1}}, False),
        ({"began_without": ("processor-1", "2")}, False),
        ({"followed_s": {}}, False),
        ({"followed_s": {"processor-1": 1.0, "processor-2": None}}, False),
        ({"followed_s": {"processor-1": 1.0, "processor-2": 10.1}}, False),
    ],
)
def test_a_time_without_the_registry_is_judged(changes: dict[str, Any], good: bool) -> None:
    outage = Outage(
        7.5,
        "1",
        predictions={"1": 5},
        began_without=("processor-1", "1"),
        promoted="2",
        followed_s={"processor-1": 1.0, "processor-2": 9.9},
    )
    assert msgspec.structs.replace(outage, **changes).good is good


def test_a_decision_that_is_on_the_log_twice_or_out_of_order_counts(tmp_path: Path) -> None:
    alert = sample_events()["fabpilot.alert.v1"]
    assert isinstance(alert, Alert)
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    for name, revisions in {"good": (1, 2, 3), "twice": (1, 2, 2), "lost": (1, 3)}.items():
        log.append(
            [
                encode(
                    msgspec.structs.replace(
                        alert, alert_id=name, revision=number, event_id=f"{name}-{number}"
                    )
                )
                for number in revisions
            ]
        )
    found = decisions(log, "kr1")
    log.close()
    assert (len(found.alerts), found.revisions, found.doubled, found.gaps) == (3, 8, 1, 2)
    assert found.alerts["lost"].revision == 3


def test_the_digest_of_a_fab_sees_a_lost_and_a_changed_event(tmp_path: Path) -> None:
    def digest(name: str, *indices: int) -> dict[str, tuple[int, str]]:
        log = open_site_log(Settings(log=f"embedded:{tmp_path / name}"), "kr1")
        log.append([encode(wafer_map(index)) for index in indices])
        found = fab_digest(log, "kr1")
        log.close()
        return found

    whole = digest("a.db", 0, 1, 2)
    assert whole["wafer_maps"][0] == 3
    assert digest("b.db", 2, 0, 1) == whole
    assert digest("c.db", 0, 1) != whole
    assert digest("d.db", 0, 1, 3) != whole
