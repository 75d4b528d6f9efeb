"""Kill processors, brokers or controllers while they work, and count what is on the log.

    python -m bench.kill processor --data wm811k.npz --model wafer-map.onnx --wafers 20000
    python -m bench.kill processor --log kafka --processors 3 --kills 30
    python -m bench.kill brokers --nodes 3 --wafers 20000
    python -m bench.kill controller --model wafer-map.onnx --wafers 2000

Processors and brokers: in the end there is exactly one prediction for every map, those of a lot in
the order of its maps, and no dead letter. `--log kafka` starts an Apache Kafka of its own,
`kafka://HOST:PORT` uses that one, with a site of its own. The controller must leave the alerts and
actions of an undisturbed run over the same log, each once (bench/kill_controller.py does more to
it). Without `--model` a small linear model scores. Prints one JSON object and exits with 1 if that
does not hold.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.fleet import Fleet, home_on, model_option, some_log
from bench.kill_brokers import kill_brokers
from bench.kill_embedded_controller import kill_controller
from bench.stream_watch import Watch, audit, wait_until
from contracts.topics import Stream, topic_name
from fabpilot.wiring import site_topics
from streaming.open import open_log

__all__ = ["kill_brokers", "kill_controller", "kill_processor"]


def kill_processor(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """20,000 maps, processors killed at random moments, one prediction each.

    A moment is an amount of work done plus a random wait, so that kills fall anywhere in a batch.
    """
    with some_log(options.log, folder) as (url, site):
        log = open_log(url)
        log.create_topics(site_topics(site))
        home = home_on(url, site, folder / "home")
        model = model_option(options.model, folder)
        home.run("replay", options.data, "--limit", str(options.wafers))
        fleet = Fleet(home, ["process", "--batch", "64", *model], options.processors)
        watch = Watch(url, topic_name(site, Stream.PREDICTIONS))
        rng = random.Random(options.seed)
        targets = sorted(rng.uniform(0.0, 0.95) * options.wafers for _ in range(options.kills))
        killed_at: list[int] = []
        problem, codes = "", [-1]
        began = time.monotonic()
        try:
            for planned in targets:
                # Each has done something before it dies.
                target = max(planned, watch.count + 1)
                fleet.at_work()
                wait_until(lambda at=target: watch.count >= at, f"prediction {target:.0f}")
                time.sleep(rng.uniform(0.0, 0.05))
                fleet.kill_one(rng)
                killed_at.append(watch.count)
            fleet.at_work()
            wait_until(lambda: watch.count >= options.wafers, "the last prediction")
            seconds = time.monotonic() - began
            codes = fleet.rest()
            # Whoever comes next finds nothing left to do.
            redone = home.json("process", "--until-idle", *model)["consumed"]
        except TimeoutError as error:
            problem, redone, seconds = str(error), -1, time.monotonic() - began
        finally:
            fleet.close()
            watch.close()
        found = audit(log, site)
        log.close()
    return {
        **msgspec.to_builtins(found),
        "processors": options.processors,
        "kills": len(killed_at),
        "killed_at": killed_at,
        "redone": redone,
        "ended_badly": fleet.ended_badly,
        "exit_codes": codes,
        "seconds": round(seconds, 1),
        "problem": problem,
        "good": found.good(options.wafers)
        and redone == 0
        and not problem
        and not any(codes)
        and not fleet.ended_badly,
    }


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["processor", "brokers", "controller"])
    parser.add_argument("--data", default="../shared/data/wm811k.npz")
    parser.add_argument("--model", default="", help="an ONNX file")
    parser.add_argument("--wafers", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--log", default="embedded", help="embedded, kafka or kafka://HOST:PORT")
    parser.add_argument("--processors", type=int, default=1, help="at work at the same time")
    parser.add_argument("--nodes", type=int, default=3, help="of the cluster whose brokers die")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="", help="a folder for what happened, to look into")
    options = parser.parse_args()
    options.data = str(Path(options.data).absolute())
    work = {
        "processor": kill_processor,
        "brokers": kill_brokers,
        "controller": kill_controller,
    }[options.what]
    if options.keep:
        result = work(Path(options.keep).absolute(), options)
    else:
        with tempfile.TemporaryDirectory(prefix="fabpilot-kill-") as folder:
            result = work(Path(folder), options)
    print(json.dumps(result))
    sys.exit(0 if result["good"] else 1)


if __name__ == "__main__":
    main()
