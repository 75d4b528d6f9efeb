"""A controller on the embedded log killed at random moments, against an undisturbed one."""

import argparse
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.stream_watch import read_all
from contracts.codec import decode
from contracts.events import Action, Alert
from contracts.topics import Stream, topic_name
from fabpilot.controller import controller_topics, loop_name
from streaming.database import open_engine, read_only
from streaming.offsets import load_offsets
from streaming.open import open_log
from streaming.outbox import create_tables
from tests.command_line import Home

__all__ = ["kill_controller"]

_SITE = "kr1"


def _kill_repeatedly(
    home: Home,
    arguments: Sequence[str],
    kills: int,
    seed: int,
    progress: Callable[[], int],
    total: int,
) -> list[int]:
    """Kill the command at `kills` moments spread over its work; returns how far it was each time.

    A moment is an amount of work done plus a random wait, so that kills fall anywhere in a batch.
    """
    rng = random.Random(seed)
    targets = sorted(rng.uniform(0.0, 0.95) * total for _ in range(kills))
    killed_at: list[int] = []
    process: subprocess.Popen[bytes] | None = None
    for target in targets:
        if process is None or process.poll() is not None:
            process = home.start(*arguments)
        deadline = time.monotonic() + 300
        while progress() < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(progress())
        process = None
    return killed_at


def _decisions(home: Path) -> tuple[list[str], list[str]]:
    log = open_log(f"embedded:{home / 'log.db'}")
    events = [
        decode(record.headers, record.value)
        for stream in (Stream.ALERTS, Stream.ACTIONS)
        for record in read_all(log, topic_name(_SITE, stream))
    ]
    alerts = [e.event_id for e in events if isinstance(e, Alert)]
    actions = [e.event_id for e in events if isinstance(e, Action)]
    log.close()
    return sorted(alerts), sorted(actions)


def _records(home: Path) -> int:
    """How many records the controller has to take in, at least."""
    log = open_log(f"embedded:{home / 'log.db'}")
    try:
        return sum(log.ends(controller_topics(_SITE)).values())
    finally:
        log.close()


def kill_controller(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One log of a fab with excursions, controlled twice: undisturbed, and killed all the time."""
    made = folder / "made"
    model = ["--model", str(Path(options.model).absolute())] if options.model else []
    Home(made, FABPILOT_SITE=_SITE).run(
        "sim", "run", "--scenario", "demo", "--wafers", str(options.wafers)
    )
    Home(made, FABPILOT_SITE=_SITE).run("process", "--until-idle", *model)
    calm, killed = folder / "calm", folder / "killed"
    shutil.copytree(made, calm)
    shutil.copytree(made, killed)
    Home(calm, FABPILOT_SITE=_SITE).run("control", "--until-idle")
    alerts, actions = _decisions(calm)

    engine = open_engine(f"sqlite:///{killed / 'fabpilot.db'}")
    create_tables(engine)

    def taken_in() -> int:
        with read_only(engine).begin() as connection:
            return sum(load_offsets(connection, loop_name(_SITE)).values())

    killed_at = _kill_repeatedly(
        Home(killed, FABPILOT_SITE=_SITE),
        ["control", "--until-idle"],
        options.kills,
        options.seed,
        taken_in,
        _records(made),
    )
    engine.dispose()
    Home(killed, FABPILOT_SITE=_SITE).run("control", "--until-idle")
    alerts_killed, actions_killed = _decisions(killed)
    return {
        "wafers": options.wafers,
        "alert_revisions": len(alerts),
        "actions": len(actions),
        "same_alerts": alerts == alerts_killed,
        "same_actions": actions == actions_killed,
        "each_once": len(set(alerts_killed)) == len(alerts_killed)
        and len(set(actions_killed)) == len(actions_killed),
        "kills": len(killed_at),
        "killed_at": killed_at,
        "good": alerts == alerts_killed and actions == actions_killed and bool(alerts),
    }
