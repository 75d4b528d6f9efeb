"""How fast the embedded log and the loops are: `python bench/streaming_rates.py [FOLDER]`.

Prints one JSON object. Rates are records a second; the loops' cost is microseconds a record with a
handler that does next to nothing, so it is what the loop itself costs; the CPU time beside it does
not depend on who else uses the machine.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import sqlalchemy as sa

from contracts.arrays import Array
from contracts.codec import encode
from contracts.errors import DataError
from contracts.events import Event, Label, WaferMap
from contracts.records import Message
from streaming.database import open_engine
from streaming.embedded import EmbeddedLog
from streaming.processor import Processor
from streaming.stateful import Arrived, StatefulLoop

MAPS, LABELS = "fab.kr1.wafer_maps", "fab.kr1.labels"
RECORDS = 20_000
BATCH = 256


def maps() -> list[Message]:
    """Encoded wafer maps of 27x27 dies, about 1 KB each with their headers."""
    rng = np.random.default_rng(0)
    grid = Array.of(rng.integers(0, 3, (27, 27)).astype(np.uint8))
    return [
        encode(
            WaferMap(
                event_id=f"map-{number}",
                site="kr1",
                time_ms=number,
                product="p",
                lot_id=f"lot-{number // 25}",
                substrate_id=f"w-{number}",
                slot=number % 25 + 1,
                grid=grid,
            )
        )
        for number in range(RECORDS)
    ]


def small() -> list[Message]:
    """Records of 100 bytes without headers."""
    return [Message(MAPS, b"lot-%d" % (n // 25), bytes(100)) for n in range(RECORDS)]


def label(event: Event) -> Label:
    """The cheapest answer there is."""
    return Label(
        event_id=f"l-{event.event_id}",
        site="kr1",
        time_ms=event.time_ms,
        lot_id="lot",
        substrate_id="w",
        patterns=("None",),
        by="bench",
    )


def handle(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
    """One label an event."""
    return [[label(event)] for event in events]


def apply(connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
    """A label for every hundredth."""
    return [label(event) for _, event in arrived if event.time_ms % 100 == 0]


def seconds(call: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(
    folder: Path, messages: list[Message], synchronous: Literal["FULL", "NORMAL"]
) -> dict[str, float]:
    """Append, read and consume `messages`."""
    log = EmbeddedLog(folder / "log.db", synchronous=synchronous)
    log.create_topics({MAPS: 4, LABELS: 4})

    def append() -> None:
        for first in range(0, RECORDS, BATCH):
            log.append(messages[first : first + BATCH])

    def read() -> None:
        reader = log.reader([MAPS], "beginning")
        while reader.poll(BATCH, 0.0):
            pass

    def consume() -> None:
        consumer = log.consumer("bench", [MAPS])
        while records := consumer.poll(BATCH, 0.0):
            offsets = {record.topic_partition: record.offset + 1 for record in records}
            consumer.commit([Message(LABELS, r.key, r.value) for r in records], offsets)
        consumer.close()

    result = {
        "append_per_s": RECORDS / seconds(append),
        "read_per_s": RECORDS / seconds(read),
        "consume_commit_per_s": RECORDS / seconds(consume),
    }
    log.close()
    return result


def measure_loops(folder: Path, messages: list[Message]) -> dict[str, float]:
    """Both loops over the same maps."""
    log = EmbeddedLog(folder / "log.db")
    log.create_topics({MAPS: 4, LABELS: 4})
    log.append(messages)
    processor = Processor(log, group="g", topics=lambda: [MAPS], handle=handle)
    cpu = [time.process_time()]
    processed = processor.run(threading.Event(), until_idle=True)
    cpu.append(time.process_time())
    engine = open_engine(f"sqlite:///{folder}/state.db")
    loop = StatefulLoop(name="c", log=log, engine=engine, topics=lambda: [MAPS], apply=apply)
    applied = loop.run(threading.Event(), until_idle=True)
    cpu.append(time.process_time())
    engine.dispose()
    log.close()
    return {
        "processor_us_per_record": 1e6 * processed.seconds / processed.consumed,
        "processor_cpu_us_per_record": 1e6 * (cpu[1] - cpu[0]) / processed.consumed,
        "stateful_us_per_record": 1e6 * applied.seconds / applied.consumed,
        "stateful_cpu_us_per_record": 1e6 * (cpu[2] - cpu[1]) / applied.consumed,
    }


def main(parent: str | None) -> None:
    """Measure everything in fresh folders under `parent`."""
    results: dict[str, dict[str, float]] = {}
    modes: tuple[Literal["FULL", "NORMAL"], ...] = ("FULL", "NORMAL")
    for name, messages in (("small_100_b", small()), ("map_27x27", maps())):
        for mode in modes:
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                results[f"{name}_{mode}"] = measure(Path(folder), messages, mode)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        results["loops_map_27x27"] = measure_loops(Path(folder), maps())
    rounded = {k: {n: round(v, 1) for n, v in values.items()} for k, values in results.items()}
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(rounded), indent=2).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
