"""The whole platform on one machine: a fab, a processor, a controller, a console.

Each part is the command an operator would run, in a process of its own, on the embedded log.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from contracts.errors import FabpilotError, ModelError
from contracts.topics import Stream, topic_name
from fab_sim import TrueExcursion
from fabpilot.controller import controller_topics, loop_name
from fabpilot.judge import DemoReport, judge_run
from fabpilot.settings import Settings
from fabpilot.stopping import CHILD_VARIABLE
from fabpilot.supervisor import Child, Supervisor
from fabpilot.wiring import group_name, open_site_log
from streaming.database import open_engine, read_only
from streaming.log import Log
from streaming.offsets import load_offsets

__all__ = ["TRAIN_ARGUMENTS", "ensure_model", "parts", "run_headless"]

_log = structlog.get_logger(__name__)

# A small model of the synthetic fab's maps: good enough to show the loop at work, and two minutes.
TRAIN_ARGUMENTS = (
    "train",
    "wafer-map",
    "--data",
    "sim:mixed",
    "--budget",
    "90s",
    "--wafers",
    "9000",
)
# The alias of the version that serves; models.registry would bring MLflow.
_CHAMPION = "champion"
# How long the loops may take to catch up with the fab after it has ended.
_CATCH_UP_S = 300.0


def ensure_model(settings: Settings, stop: threading.Event, say: Callable[[str], None]) -> bool:
    """Train a first model if no version serves yet; False if stopped meanwhile.

    Raises:
        ModelError: training failed.
    """
    if _has_champion(settings):
        return True
    say("No model is registered yet: training a small one on synthetic maps, about two minutes.")
    training = subprocess.Popen(
        [sys.executable, "-m", "fabpilot", *TRAIN_ARGUMENTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, CHILD_VARIABLE: "1"},
    )
    while training.poll() is None:
        if stop.wait(0.2):
            training.kill()
            training.wait()
            return False
    if training.returncode:
        raise ModelError(
            "training the first model failed, see its output above; try it alone:"
            f" fabpilot {' '.join(TRAIN_ARGUMENTS)}"
        )
    return True


def _has_champion(settings: Settings) -> bool:
    """Whether a version serves already, asked in a process of its own.

    This one then holds nothing of MLflow's, whose two thousand modules take seconds to take down:
    Ctrl-C would seem to hang.

    Raises:
        ModelError: the registry does not answer.
    """
    asked = subprocess.run(
        [sys.executable, "-m", "fabpilot", "models", "list", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=False,
    )
    if asked.returncode:
        raise ModelError(
            f"the registry {settings.mlflow_uri} does not answer, its words are above;"
            " try it alone: fabpilot models list"
        )
    versions = msgspec.json.decode(asked.stdout)["versions"]
    return any(_CHAMPION in version["aliases"] for version in versions)


def parts(settings: Settings, site: str, ready: Path | None = None) -> list[Child]:
    """The processor and the controller of a site, not started; the first makes `ready`."""
    folder = settings.home / "logs"
    process = ["process", "--site", site]
    if ready is not None:
        process += ["--ready", str(ready)]
    return [
        Child(f"process.{site}", process, folder),
        Child(f"control.{site}", ["control", "--site", site], folder),
    ]


def run_headless(
    settings: Settings,
    stop: threading.Event,
    *,
    scenario: str,
    site: str,
    wafers: int,
    seed: int,
    speed: float | None,
    on_progress: Callable[[int], None],
) -> DemoReport | None:
    """Run everything until so many wafers are tested, scored and judged; None if stopped.

    Raises:
        FabpilotError: the fab failed, or the loops do not catch up.
    """
    began = time.monotonic()
    supervisor = Supervisor()
    log = open_site_log(settings, site)
    folder = settings.home / "logs"
    try:
        with tempfile.TemporaryDirectory(prefix="fabpilot-truth-") as hidden:
            truth_path = Path(hidden) / "truth.json"
            ready = Path(hidden) / "ready"
            for part in parts(settings, site, ready):
                supervisor.start(part)
            # A fab that runs before anybody scores would measure how long programs take to start.
            if not _watch(supervisor, stop, log, site, on_progress, until=ready.exists):
                return None
            arguments = ["sim", "run", "--scenario", scenario, "--site", site, "--json"]
            arguments += ["--start", "now"]
            arguments += ["--wafers", str(wafers), "--seed", str(seed), "--truth", str(truth_path)]
            if speed is not None:
                arguments += ["--speed", str(speed)]
            fab = Child(f"sim.{site}", arguments, folder, keep_running=False)
            supervisor.start(fab)
            if not _watch(
                supervisor, stop, log, site, on_progress, until=lambda: fab.code is not None
            ):
                return None
            if fab.code:
                raise FabpilotError(f"the fab failed: {fab.tail(1)} (more in {fab.log_path})")
            truth = msgspec.json.decode(truth_path.read_bytes(), type=list[TrueExcursion])
        caught_up = _CaughtUp(settings, log, site)
        deadline = time.monotonic() + _CATCH_UP_S
        if not _watch(supervisor, stop, log, site, on_progress, until=caught_up, deadline=deadline):
            if stop.is_set():
                return None
            raise FabpilotError(
                f"the processor or the controller did not catch up in {_CATCH_UP_S:.0f} s;"
                f" what they say is in {folder}"
            )
        supervisor.close()
        return judge_run(log, site, truth, seed=seed, seconds=time.monotonic() - began)
    finally:
        supervisor.close()
        log.close()


def _watch(
    supervisor: Supervisor,
    stop: threading.Event,
    log: Log,
    site: str,
    on_progress: Callable[[int], None],
    *,
    until: Callable[[], bool],
    deadline: float | None = None,
) -> bool:
    """Keep the children running until `until`; False if stopped or late."""
    predictions = topic_name(site, Stream.PREDICTIONS)
    while not until():
        if stop.wait(0.1) or (deadline is not None and time.monotonic() > deadline):
            return False
        supervisor.check()
        on_progress(sum(log.ends([predictions]).values()))
    on_progress(sum(log.ends([predictions]).values()))
    return True


class _CaughtUp:
    """Whether both loops of a site have taken in everything on the log."""

    def __init__(self, settings: Settings, log: Log, site: str) -> None:
        self._engine = open_engine(settings.database_url, settings.database_password)
        self._log = log
        self._site = site

    def __call__(self) -> bool:
        """Look once."""
        maps = [topic_name(self._site, Stream.WAFER_MAPS)]
        processed = self._log.committed(group_name(self._site), maps)
        if any(processed.get(place, 0) < end for place, end in self._log.ends(maps).items()):
            return False
        with read_only(self._engine).begin() as connection:
            taken = load_offsets(connection, loop_name(self._site))
        ends = self._log.ends(controller_topics(self._site))
        return all(taken.get(place, 0) >= end for place, end in ends.items())
