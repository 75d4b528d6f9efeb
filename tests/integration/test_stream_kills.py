"""Loops killed with SIGKILL at random moments leave neither gaps nor duplicates."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from contracts.codec import encode
from contracts.events import Label
from streaming.deadline import Deadline
from streaming.embedded import EmbeddedLog
from streaming.stateful import StatefulLoop
from tests.stream_helpers import (
    BAD,
    LABELS,
    MAPS,
    apply,
    dead_letters,
    decoded,
    junk,
    publish,
    state,
    wafer,
)

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("stream_workers.py")
RECORDS = 3000
KILLS = 6
SEED = 20261121


def filled(folder: Path) -> EmbeddedLog:
    """A log of maps in no order of time, some of them undecodable or of the bad lot."""
    rng = random.Random(SEED)
    log = EmbeddedLog(folder / "log.db")
    messages = []
    for number in range(RECORDS):
        lot = BAD if number % 500 == 13 else ""
        messages.append(encode(wafer(number, time_ms=rng.randrange(RECORDS // 2), lot=lot)))
        if number % 400 == 7:
            messages.append(junk(number))
    publish(log, messages)
    return log


def kill_while_working(role: str, folder: Path, log: EmbeddedLog, total: int) -> int:
    """Start the worker again and again, kill it in the midst of its work, and let it end at last.

    Each one is killed once it has written a random number of its `total` labels, so that every kill
    hits a worker at work however fast the machine is. Returns how many were killed.
    """
    rng = random.Random(SEED)
    killed = 0
    reader = log.reader([LABELS], "beginning")
    seen = 0
    deadline = Deadline(120.0)
    for _ in range(KILLS):
        limit = seen + rng.randrange(1, total // KILLS)
        with start(role, folder) as worker:
            while seen < limit and worker.poll() is None:
                seen += len(reader.poll(1000, 0.1))
                assert not deadline.passed
            worker.kill()
            killed += worker.wait() != 0
    with start(role, folder) as worker:
        assert worker.wait(60) == 0
    return killed


def start(role: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), role, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_a_processor_killed_at_random_answers_every_input_once(tmp_path: Path) -> None:
    log = filled(tmp_path)
    assert kill_while_working("process", tmp_path, log, RECORDS) >= KILLS - 1
    seen = [event.substrate_id for event in decoded(log, LABELS) if isinstance(event, Label)]
    good = [f"w-{n}" for n in range(RECORDS) if n % 500 != 13]
    assert sorted(seen) == sorted(good)
    places = [(letter.source_partition, letter.source_offset) for letter in dead_letters(log)]
    assert len(places) == len(set(places)) == 6 + 8
    log.close()


@pytest.mark.slow
def test_a_stateful_loop_killed_at_random_says_what_an_undisturbed_one_says(
    tmp_path: Path,
) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "undisturbed").mkdir()
    log, other = filled(tmp_path / "killed"), filled(tmp_path / "undisturbed")
    engine = state(f"sqlite:///{tmp_path}/undisturbed/state.db")
    StatefulLoop(
        name="c", log=other, engine=engine, topics=lambda: [MAPS], apply=apply, batch=500
    ).run(threading.Event(), until_idle=True)
    engine.dispose()
    assert kill_while_working("control", tmp_path / "killed", log, RECORDS // 3) >= KILLS - 1
    assert decoded(log, LABELS) == decoded(other, LABELS)
    assert len(decoded(log, LABELS)) == (RECORDS - 6) // 3
    # A dead letter bears the time at which the log took its record; all else is equal.
    letters, others = (
        [msgspec.structs.replace(letter, time_ms=0) for letter in dead_letters(one)]
        for one in (log, other)
    )
    assert letters == others
    assert len(letters) == 6 + 8
    log.close()
    other.close()
