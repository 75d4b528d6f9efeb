"""Kill a loop at random moments while it works, start it again, and count what is on the log.

    python -m bench.kill processor --data wm811k.npz --model wafer-map.onnx --wafers 20000
    python -m bench.kill controller --model wafer-map.onnx --wafers 2000

The processor must leave exactly one prediction for every map. The controller must leave the alerts
and actions of an undisturbed run over the same log, each once. Prints one JSON object and exits
with 1 if that does not hold.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contracts.codec import decode
from contracts.events import Action, Alert, Event, Prediction, WaferMap
from contracts.topics import Stream, topic_name
from fabpilot.controller import controller_topics, loop_name
from streaming.database import open_engine, read_only
from streaming.log import Log
from streaming.offsets import load_offsets
from streaming.open import open_log
from streaming.outbox import create_tables

_SITE = "kr1"


def _environment(home: Path) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("FABPILOT_")}
    return {**plain, "FABPILOT_HOME": str(home), "FABPILOT_SITE": _SITE}


def _run(home: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "fabpilot", *arguments],
        env=_environment(home),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _events(log: Log, stream: Stream) -> list[Event]:
    topic = topic_name(_SITE, stream)
    left = sum(log.ends([topic]).values())
    reader = log.reader([topic], "beginning")
    events: list[Event] = []
    while left > 0:
        records = reader.poll(1000, 5.0)
        left -= len(records)
        events += [decode(record.headers, record.value) for record in records]
    reader.close()
    return events


def _kill_repeatedly(
    home: Path,
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
            process = _start(home, arguments)
        deadline = time.monotonic() + 300
        while progress() < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(progress())
        process = None
    return killed_at


def _start(home: Path, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "fabpilot", *arguments],
        env=_environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_processor(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """20,000 maps, 20 kills, one prediction each."""
    home = folder / "home"
    _run(home, "replay", options.data, "--limit", str(options.wafers))
    log = open_log(f"embedded:{home / 'log.db'}")
    predictions = topic_name(_SITE, Stream.PREDICTIONS)
    command = ["process", "--until-idle", "--batch", "64"]
    command += ["--model", str(Path(options.model).absolute())] if options.model else []
    killed_at = _kill_repeatedly(
        home,
        command,
        options.kills,
        options.seed,
        lambda: sum(log.ends([predictions]).values()),
        options.wafers,
    )
    _run(home, *command)
    maps = {e.event_id for e in _events(log, Stream.WAFER_MAPS) if isinstance(e, WaferMap)}
    per_input = Counter(
        e.input_id for e in _events(log, Stream.PREDICTIONS) if isinstance(e, Prediction)
    )
    dead = len(_events(log, Stream.DEAD_LETTERS))
    log.close()
    missing = len(maps - per_input.keys())
    doubled = sum(count > 1 for count in per_input.values())
    return {
        "maps": len(maps),
        "predictions": sum(per_input.values()),
        "missing": missing,
        "doubled": doubled,
        "dead_letters": dead,
        "kills": len(killed_at),
        "killed_at": killed_at,
        "good": missing == doubled == dead == 0 and len(maps) == options.wafers,
    }


def _decisions(home: Path) -> tuple[list[str], list[str]]:
    log = open_log(f"embedded:{home / 'log.db'}")
    alerts = [e.event_id for e in _events(log, Stream.ALERTS) if isinstance(e, Alert)]
    actions = [e.event_id for e in _events(log, Stream.ACTIONS) if isinstance(e, Action)]
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
    _run(made, "sim", "run", "--scenario", "demo", "--wafers", str(options.wafers))
    _run(made, "process", "--until-idle", *model)
    calm, killed = folder / "calm", folder / "killed"
    shutil.copytree(made, calm)
    shutil.copytree(made, killed)
    _run(calm, "control", "--until-idle")
    alerts, actions = _decisions(calm)

    engine = open_engine(f"sqlite:///{killed / 'fabpilot.db'}")
    create_tables(engine)

    def taken_in() -> int:
        with read_only(engine).begin() as connection:
            return sum(load_offsets(connection, loop_name(_SITE)).values())

    killed_at = _kill_repeatedly(
        killed,
        ["control", "--until-idle"],
        options.kills,
        options.seed,
        taken_in,
        _records(made),
    )
    engine.dispose()
    _run(killed, "control", "--until-idle")
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


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=["processor", "controller"])
    parser.add_argument("--data", default="../shared/data/wm811k.npz")
    parser.add_argument("--model", default="", help="an ONNX file")
    parser.add_argument("--wafers", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fabpilot-kill-") as folder:
        work = kill_processor if options.loop == "processor" else kill_controller
        result = work(Path(folder), options)
    print(json.dumps(result))
    sys.exit(0 if result["good"] else 1)


if __name__ == "__main__":
    main()
