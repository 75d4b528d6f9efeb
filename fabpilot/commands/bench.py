"""`fabpilot bench`: each figure beside a ceiling measured in the same run."""

import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import typer

from contracts.arrays import Array
from contracts.codec import encode
from contracts.errors import DataError
from contracts.events import WaferMap
from contracts.records import Message, TopicPartition
from contracts.topics import Stream, topic_name
from contracts.wafer_map import canonical_maps
from fab_sim import labelled_maps, load_scenario
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.recorded import RecordedMaps
from fabpilot.settings import Settings, load_settings
from fabpilot.wiring import open_repository, open_site_log, scoring_workers
from serving.repository import Loaded
from serving.scorer import Scorer
from serving.session import Session
from streaming.log import Log
from streaming.processor import Processor

__all__ = ["StreamBench", "register"]

_BATCH = 128
_POLL = 256
_SITE = "bench"


class StreamBench(msgspec.Struct, frozen=True):
    """What the processor does beside what its parts could do alone.

    Attributes:
        wafers_per_s: maps in to predictions committed, by one processor.
        consume_per_s: ceiling: reading the same records from the log, nothing else.
        score_per_s: ceiling: bare `InferenceSession.run` on the same canonical maps, batches of
            128, all outputs; the mean of one measurement before and one after the processor.
        produce_per_s: ceiling: appending the same predictions to the log, nothing else.
        bound_per_s: 1 / (1/consume + 1/score + 1/produce), one after the other.
        ratio: wafers_per_s / bound_per_s.
        ratio_to_score: wafers_per_s / score_per_s.
    """

    wafers: int
    wafers_per_s: float
    consume_per_s: float
    score_per_s: float
    produce_per_s: float
    bound_per_s: float
    ratio: float
    ratio_to_score: float
    provider: str
    model_version: str
    log: str
    machine: str


def stream(
    wafers: Annotated[int, typer.Option("--wafers", min=256, help="How many maps.")] = 20_000,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A .npz of maps (default: wm811k.npz in FABPILOT_DATA)."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="An ONNX file or models:/NAME@ALIAS.")
    ] = None,
    log_url: Annotated[
        str | None, typer.Option("--log", help="Another log than a new embedded one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Throughput of the processor against its ceilings, all in one run.

    Without a file of maps the synthetic fab makes them.

    For example:

      fabpilot bench stream --json

      fabpilot bench stream --data wm811k.npz --wafers 5000
    """
    settings = load_settings()
    # The ceiling takes all cores for one run; the processor is set up as `fabpilot process` does.
    ceiling = open_repository(settings, model)
    repository = open_repository(settings, model, threads=1)
    scorer = Scorer(repository, workers=scoring_workers(settings))
    try:
        events = _events(settings, data, wafers)
        with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
            url = log_url or f"embedded:{Path(folder) / 'log.db'}"
            log = open_site_log(settings.model_copy(update={"log": url}), _SITE)
            try:
                result = _measure(log, url, events, ceiling.current(), scorer)
                report(result, as_json=as_json, title="bench")
            finally:
                log.close()
    finally:
        scorer.close()
        repository.close()
        ceiling.close()


def _events(settings: Settings, data: Path | None, wafers: int) -> list[WaferMap]:
    """So many usable maps, from a file if there is one, repeated if it has too few."""
    path = data or settings.data / "wm811k.npz"
    if data is not None or path.exists():
        recorded = RecordedMaps(path, site=_SITE, start_ms=0)
        found = [event for _, event, _ in recorded.events(0, wafers) if isinstance(event, WaferMap)]
        err.print(f"{len(found)} maps of {path.name}")
        if not found:
            raise DataError(f"{path} has no usable map")
        return _named(found, wafers)
    err.print(f"{path} is not there; the synthetic fab makes the maps")
    made = labelled_maps(load_scenario("mixed"), wafers=min(wafers, 5000), seed=0)
    return _named(
        [
            WaferMap(
                event_id=str(i),
                site=_SITE,
                time_ms=i,
                product="sim",
                lot_id=lot,
                substrate_id=f"{lot}.{i}",
                slot=1,
                grid=Array.of(grid),
                source="bench",
            )
            for i, (grid, lot) in enumerate(zip(made.grids, made.lots, strict=True))
        ],
        wafers,
    )


def _named(events: list[WaferMap], wafers: int) -> list[WaferMap]:
    return [
        msgspec.structs.replace(events[i % len(events)], event_id=f"bench-{i}")
        for i in range(wafers)
    ]


def _measure(
    log: Log, url: str, events: Sequence[WaferMap], loaded: Loaded, scorer: Scorer
) -> StreamBench:
    source, target = topic_name(_SITE, Stream.WAFER_MAPS), topic_name(_SITE, Stream.PREDICTIONS)
    count = len(events)
    start, target_start = log.ends([source]), log.ends([target])
    _append(log, [encode(event) for event in events])
    maps = canonical_maps([e.grid.numpy() for e in events], loaded.session.card.canonical_size)

    consume_s = _timed(lambda: _consume(log, source, start, count))
    before_s = _timed(lambda: _score(loaded.session, maps))
    stop = threading.Event()
    processor = Processor(
        log,
        group=f"bench-{time.time_ns()}",
        topics=lambda: [source],
        handle=scorer,
        batch=_POLL,
    )
    # A log that is used again has older maps before ours; they are processed too, and counted.
    began = time.perf_counter()
    settled = [began]
    done = processor.run(
        stop,
        until_idle=True,
        on_progress=lambda _: settled.__setitem__(0, time.perf_counter()),
    )
    process_s = settled[0] - began
    after_s = _timed(lambda: _score(loaded.session, maps))
    predictions = _consume(log, target, target_start, count)
    produce_s = _timed(lambda: _append(log, predictions))

    score_s = (before_s + after_s) / 2
    bound = count / (consume_s + score_s + produce_s)
    rate = done.produced / process_s
    return StreamBench(
        wafers=done.produced,
        wafers_per_s=rate,
        consume_per_s=count / consume_s,
        score_per_s=count / score_s,
        produce_per_s=count / produce_s,
        bound_per_s=bound,
        ratio=rate / bound,
        ratio_to_score=rate / (count / score_s),
        provider=loaded.session.provider,
        model_version=loaded.ref.version,
        log=url.partition(":")[0],
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
    )


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _append(log: Log, messages: Sequence[Message]) -> None:
    for first in range(0, len(messages), _POLL):
        log.append(messages[first : first + _POLL])


def _consume(log: Log, topic: str, start: dict[TopicPartition, int], count: int) -> list[Message]:
    reader = log.reader([topic], start)
    records: list[Message] = []
    try:
        while len(records) < count:
            records += [
                Message(record.topic, record.key, record.value, record.headers)
                for record in reader.poll(_POLL, 5.0)
            ]
    finally:
        reader.close()
    return records


def _score(session: Session, maps: npt.NDArray[np.uint8]) -> None:
    for first in range(0, len(maps), _BATCH):
        session.run(maps[first : first + _BATCH])


def register(app: typer.Typer) -> None:
    """Add the command."""
    bench = typer.Typer(
        help="Measure; each figure beside a ceiling of the same run.", no_args_is_help=True
    )
    bench.command("stream")(stream)
    bench.callback()(lambda: None)
    app.add_typer(bench, name="bench")
