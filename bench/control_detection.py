"""How well the controller finds excursions in made-up fabs: `python bench/control_detection.py`.

Each seed is 20 lots of 25 wafers over six steps with four modules each, three excursions on three
kinds of module one after another (60 to 90 % of the module's wafers), 3 % background patterns and
8 % of the patterns missed or mixed up; and a quiet run beside it. `--traces` adds sensor traces, in
which an excursion shows with a shift of 0, 4 or 8 sigmas.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from contracts.events import Action, Alert, Event
from contracts.wafer_map import PATTERNS
from control.engine import Engine
from control.policy import load_policy
from tests.control_streams import KINDS, SITE, START_MS, Sick, make, modules, suspects, trace

# An excursion that spoilt fewer wafers before the run ended is not counted as one to be found.
ENOUGH = 8


def excursions(seed: int, traces: bool) -> tuple[Sick, ...]:
    """Three, on different kinds of module."""
    rng = random.Random(seed)
    out = []
    for number, kind in enumerate(rng.sample(KINDS, 3)):
        first = rng.randint(15 + 25 * number, 30 + 25 * number)
        out.append(
            Sick(
                module=rng.choice(modules(kind)),
                pattern=rng.choice(PATTERNS[1:]),
                first=first,
                last=first + rng.randint(25, 60),
                rate=rng.uniform(0.6, 0.9),
                shift=rng.choice((0.0, 4.0, 8.0)) if traces else 0.0,
            )
        )
    return tuple(out)


def traces_per_s(traces: int = 3000) -> float:
    """Traces of 60 samples and 10 variables through `handle`, four modules, in a second of CPU."""
    rng = np.random.default_rng(0)
    names = tuple(f"sensor_{number}_w" for number in range(10))
    events = [
        trace(
            f"W{number}",
            "L",
            modules("etch")[number % 4],
            "etch",
            0,
            START_MS + number * 1000,
            100.0 + rng.normal(size=(60, 10)),
            names,
        )
        for number in range(traces)
    ]
    engine = Engine(load_policy(), SITE)
    began = time.process_time()
    for event in events:
        engine.handle(event)
    return traces / (time.process_time() - began)


def main() -> None:
    """Run and report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--traces", action="store_true")
    options = parser.parse_args()
    policy = load_policy()
    found = true = false = again = quiet = revisions = actions = events = 0
    delays: list[int] = []
    spent = 0.0
    for seed in range(options.seeds):
        for sick in (excursions(seed, options.traces), ()):
            stream = make(seed + (0 if sick else 10_000), sick, traces=options.traces)
            engine = Engine(policy, SITE)
            told: list[Event] = []
            began = time.process_time()
            for event in stream.events:
                told += engine.handle(event)
            spent += time.process_time() - began
            events += len(stream.events)
            names = [module for _, module in suspects(told)]
            if not sick:
                quiet += len(names)
                continue
            culprits = {one.module for one in sick}
            visible = {name for name in culprits if stream.spoilt.get(name, 0) >= ENOUGH}
            true += len(visible)
            found += len(visible & set(names))
            false += sum(name not in culprits for name in names)
            again += sum(names.count(name) - 1 for name in culprits & set(names))
            revisions += sum(isinstance(event, Alert) for event in told)
            actions += sum(isinstance(event, Action) for event in told)
            for name in culprits & set(names):
                first = next(e for e in told if isinstance(e, Alert) and e.suspect_module == name)
                delays.append(first.affected_count)
    delays.sort()
    report = {
        "seeds": options.seeds,
        "true_excursions": true,
        "detected_excursions": found,
        "false_alerts": false,
        "second_alerts_for_one_cause": again,
        "alerts_in_quiet_runs": quiet,
        "affected_wafers_at_first_alert": {
            "median": delays[len(delays) // 2],
            "p90": delays[int(0.9 * len(delays))],
        },
        "revisions_per_run": round(revisions / options.seeds, 1),
        "actions_per_run": round(actions / options.seeds, 1),
        "events_per_s": round(events / spent),
        "traces_per_s": round(traces_per_s()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
