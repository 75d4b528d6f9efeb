"""Whether a processor's memory stays what it is while records pass through it.

    python -m bench.stream_memory --log kafka://127.0.0.1:9092 --wafers 500000 --model m.onnx

Puts the maps onto the log, starts `fabpilot process` on them, and looks at its resident memory
while it works through the first 20,000 and from there on. All of them are there from the start: a
backlog that grows meanwhile would be another load at the end than at the beginning. Prints one JSON
object; exits with 1 if memory grew by more than a tenth.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import msgspec

from contracts.codec import encode
from contracts.topics import Stream, topic_name
from fabpilot.benchmarks.maps import SITE, bench_maps
from fabpilot.benchmarks.process_usage import resident_mib
from fabpilot.benchmarks.service import Service
from fabpilot.settings import load_settings
from fabpilot.wiring import open_site_log
from streaming.deadline import Deadline

FIRST = 20_000
TOGETHER = 500
ALLOWED = 1.10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", default="kafka://127.0.0.1:9092")
    parser.add_argument("--wafers", type=int, default=500_000)
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit-s", type=float, default=3600.0)
    options = parser.parse_args()
    settings = load_settings().model_copy(update={"log": options.log})
    model = str(Path(options.model).absolute())
    source = topic_name(SITE, Stream.WAFER_MAPS)
    with (
        tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder,
        closing(open_site_log(settings, SITE)) as log,
    ):
        events = bench_maps(settings, None, FIRST)
        group = f"memory-{time.time_ns()}"
        begin = sum(log.ends([source]).values())
        log.start_group(group, log.ends([source]))

        for first in range(0, options.wafers, TOGETHER):
            numbers = range(first, min(first + TOGETHER, options.wafers))
            log.append(
                [
                    encode(msgspec.structs.replace(events[n % FIRST], event_id=f"{group}-{n}"))
                    for n in numbers
                ]
            )
        seen: list[tuple[int, float]] = []
        with Service(settings, model, Path(folder), group) as service:
            deadline = Deadline(options.limit_s)
            done = 0
            while done < options.wafers and not deadline.passed and not service.ended:
                time.sleep(0.2)
                done = sum(log.committed(group, [source]).values()) - begin
                seen.append((done, resident_mib(service.pid)))
    before = [mib for at, mib in seen if at <= FIRST]
    after = [mib for at, mib in seen if at > FIRST]
    at_first = max(before)
    result = {
        "wafers": options.wafers,
        "records_settled": done,
        "mib_after_20000": round(at_first, 1),
        "mib_at_most_later": round(max(after), 1),
        "mib_at_the_end": round(after[-1], 1),
        "growth": round(max(after) / at_first, 3),
    }
    print(json.dumps({**result, "good": done >= options.wafers and result["growth"] <= ALLOWED}))
    sys.exit(0 if done >= options.wafers and result["growth"] <= ALLOWED else 1)


if __name__ == "__main__":
    main()
