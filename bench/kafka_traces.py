"""How many bytes of sensor traces a second go through one client of the log.

    python -m bench.kafka_traces --log kafka://127.0.0.1:9092 --seconds-of-trace 52

A trace here is what a tool records of one wafer on one step: 100 variables at 10 Hz. Measured are
one producer (`Log.append`, transactions of 20), one reader, and decoding into arrays; each beside
how long merely copying the same bytes takes. Prints one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from contracts.arrays import Array
from contracts.codec import decode, encode
from contracts.events import Trace
from contracts.records import Record
from contracts.topics import Stream, topic_name
from fabpilot.settings import load_settings
from fabpilot.wiring import open_site_log

SITE = "bench"
VARIABLES, RATE_HZ, TOGETHER = 100, 10.0, 20


def trace(number: int, samples: int) -> Trace:
    """Readings that wander about a set point, as sensors do: they compress a little."""
    rng = np.random.default_rng(number)
    walk = np.cumsum(rng.normal(0, 0.01, (samples, VARIABLES)), axis=0) + np.arange(VARIABLES)
    return Trace(
        event_id=f"trace-{time.time_ns()}-{number}",
        site=SITE,
        time_ms=number,
        equipment_id=f"ETCH-{number % 50:02d}",
        module_id="A",
        lot_id="lot",
        substrate_id=f"w-{number}",
        slot=1,
        process_job_id="job",
        recipe_id="r",
        step="main",
        sequence=1,
        variables=tuple(f"v{i:03d}" for i in range(VARIABLES)),
        sample_period_ms=1000 / RATE_HZ,
        values=Array.of(walk.astype(np.float32)),
    )


def timed(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", default="kafka://127.0.0.1:9092")
    parser.add_argument("--traces", type=int, default=1000)
    parser.add_argument("--seconds-of-trace", type=float, default=52.0)
    options = parser.parse_args()
    log = open_site_log(load_settings().model_copy(update={"log": options.log}), SITE)
    samples = int(options.seconds_of_trace * RATE_HZ)
    messages = [encode(trace(number, samples)) for number in range(options.traces)]
    size = sum(len(message.value) for message in messages)
    topic = topic_name(SITE, Stream.TRACES)
    reader = log.reader([topic], "end")
    reader.poll(1, 0.5)
    records: list[Record] = []

    def append() -> None:
        for first in range(0, len(messages), TOGETHER):
            log.append(messages[first : first + TOGETHER])

    def read() -> None:
        while len(records) < len(messages):
            records.extend(reader.poll(100, 5.0))

    append_s, read_s = timed(append), timed(read)
    decode_s = timed(lambda: [decode(r.headers, r.value).values.numpy() for r in records])
    copy_s = timed(lambda: [bytearray(r.value) for r in records])
    reader.close()
    log.close()
    mb = size / 1e6
    print(
        json.dumps(
            {
                "traces": len(messages),
                "trace_kb": round(size / len(messages) / 1e3),
                "append_mb_per_s": round(mb / append_s, 1),
                "read_mb_per_s": round(mb / read_s, 1),
                "decode_mb_per_s": round(mb / decode_s),
                "copy_mb_per_s": round(mb / copy_s),
            }
        )
    )


if __name__ == "__main__":
    main()
