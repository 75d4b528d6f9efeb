"""Children are started again when they die and ended together."""

import time
from pathlib import Path

import pytest

from fabpilot.supervisor import Child, Supervisor


def wait_for(condition: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FABPILOT_HOME", str(tmp_path))
    return tmp_path


def test_one_that_ends_by_itself_hands_over_its_report(home: Path) -> None:
    child = Child("list", ["sim", "run", "--list", "--json"], home / "logs", keep_running=False)
    supervisor = Supervisor()
    supervisor.start(child)
    wait_for(lambda: child.code is not None)
    assert b'"demo"' in child.output()
    supervisor.check()
    assert child.code == 0  # not started again
    supervisor.close()


def test_one_that_dies_is_started_again_after_a_while(home: Path) -> None:
    now = [0.0]
    child = Child("bad", ["sim", "run", "--scenario", "nothing"], home / "logs")
    supervisor = Supervisor(clock=lambda: now[0])
    supervisor.start(child)
    wait_for(lambda: child.code is not None)
    supervisor.check()
    assert child.restarts == 1
    supervisor.check()
    assert child.restarts == 1  # the back-off is not over
    now[0] += 1.0
    supervisor.check()
    wait_for(lambda: child.code is not None)
    supervisor.check()
    assert child.restarts == 2
    assert child.not_before == pytest.approx(now[0] + 1.0)
    assert "no scenario 'nothing'" in child.tail()
    supervisor.close()


def test_closing_ends_what_runs(home: Path) -> None:
    child = Child("tail", ["log", "tail", "alerts"], home / "logs")
    supervisor = Supervisor()
    supervisor.start(child)
    assert child.pid is not None
    supervisor.close()
    assert child.pid is None
    supervisor.close()


def test_a_child_stops_when_its_parent_is_gone(home: Path) -> None:
    child = Child("tail", ["log", "tail", "alerts"], home / "logs")
    child.start()
    process = child._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # what the system does when the parent dies
    wait_for(lambda: child.code is not None)
    child.close_files()
