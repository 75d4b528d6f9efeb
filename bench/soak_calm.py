"""The hours of a soak with nothing killed, to hold the others against."""

import argparse
from pathlib import Path

import msgspec

from bench.fleet import home_on, model_option
from bench.soak_log import Decisions, decisions, fab_digest
from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.records import Message
from fab_sim import Fab, TrueExcursion, load_scenario
from fabpilot.output import progress_bar
from fabpilot.wiring import site_topics
from streaming.open import open_log

__all__ = ["SITE", "START_MS", "Calm", "calm_run"]

SITE = "kr1"
START_MS = 1_767_225_600_000
"""2026-01-01T00:00, where a fab's clock begins by itself."""

_HOUR_MS = 3_600_000
_TOGETHER = 500


class Calm(msgspec.Struct, frozen=True):
    """The same hours of the fab with nothing killed.

    Attributes:
        wafers: tested in these hours.
        first_h: when the first one was, in hours since the start; `last_h` the last one.
        fab: count and digest of each of the fab's streams.
        truth: the excursions that began.
    """

    wafers: int
    first_h: float
    last_h: float
    fab: dict[str, tuple[int, str]]
    truth: tuple[TrueExcursion, ...]
    decisions: Decisions


def calm_run(folder: Path, options: argparse.Namespace) -> Calm:
    """Simulate, score and control the hours on an embedded log, one after another.

    Raises:
        ConfigError: in so few hours no wafer is tested.
    """
    home = home_on(f"embedded:{folder / 'log.db'}", SITE, folder)
    log = open_log(home.environment["FABPILOT_LOG"])
    log.create_topics(site_topics(SITE))
    scenario = load_scenario(options.scenario)
    fab = Fab(scenario, site=SITE, seed=options.seed, start_ms=START_MS)
    pending: list[Message] = []
    wafers, first_h, last_h = 0, 0.0, 0.0
    with progress_bar("undisturbed fab, hours", options.hours) as bar:
        while (hour := (fab.now_ms - START_MS) / _HOUR_MS) < options.hours:
            pending += map(encode, fab.step())
            if fab.wafers_done > wafers:
                # A fab on the log ends when its last wafer is tested, so this one does too.
                wafers, last_h = fab.wafers_done, hour
                first_h = first_h or hour
                for first in range(0, len(pending), _TOGETHER):
                    log.append(pending[first : first + _TOGETHER])
                pending = []
                bar.update(bar.tasks[0].id, completed=hour)
    if not wafers:
        raise ConfigError(f"no wafer is tested within {options.hours} hours; ask for more --hours")
    home.run("process", "--until-idle", *model_option(options.model, folder))
    home.run("control", "--until-idle")
    found = Calm(
        wafers,
        first_h,
        last_h,
        fab_digest(log, SITE),
        fab.truth(),
        decisions(log, SITE),
    )
    log.close()
    return found
