import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from contracts.codec import encode
from contracts.errors import ConfigError, DataError, ModelError
from contracts.events import Event, Label
from contracts.records import Message
from streaming.embedded import EmbeddedLog
from streaming.processor import Handle, Processor, ProcessorReport
from tests.stream_helpers import (
    BAD,
    DEAD,
    LABELS,
    MAPS,
    dead_letters,
    decoded,
    handle,
    junk,
    label_of,
    publish,
    wafer,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path / "log.db")
    yield opened
    opened.close()


def run(log: EmbeddedLog, handler: Handle = handle, *, batch: int = 16) -> ProcessorReport:
    processor = Processor(log, group="g", topics=lambda: [MAPS], handle=handler, batch=batch)
    return processor.run(threading.Event(), until_idle=True)


def labelled(log: EmbeddedLog) -> list[str]:
    return sorted(event.substrate_id for event in decoded(log, LABELS) if isinstance(event, Label))


def test_every_input_has_its_output_once(log: EmbeddedLog) -> None:
    publish(log, [encode(wafer(i)) for i in range(200)])
    report = run(log)
    assert (report.consumed, report.produced, report.dead_letters) == (200, 200, 0)
    assert labelled(log) == sorted(f"w-{i}" for i in range(200))
    assert run(log).consumed == 0


def test_batches_handled_at_once_are_committed_in_their_order(log: EmbeddedLog) -> None:
    publish(log, [encode(wafer(i)) for i in range(60)])
    gate = threading.Barrier(3)

    def together(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
        # Three batches must be in the handler at the same time, or this raises.
        gate.wait(30)
        return handle(events)

    report = Processor(
        log, group="g", topics=lambda: [MAPS], handle=together, batch=10, workers=3
    ).run(threading.Event(), until_idle=True)
    assert (report.consumed, report.produced, report.dead_letters) == (60, 60, 0)
    answers = [event.substrate_id for event in decoded(log, LABELS) if isinstance(event, Label)]
    read_in_order = [event.substrate_id for event in decoded(log, MAPS)]
    by_lot: dict[str, list[str]] = {}
    for number in range(60):
        by_lot.setdefault(f"lot-{number // 25}", []).append(f"w-{number}")
    for wafers in by_lot.values():
        assert [w for w in answers if w in wafers] == [w for w in read_in_order if w in wafers]


def test_undecodable_and_refused_records_become_dead_letters_with_their_reason(
    log: EmbeddedLog,
) -> None:
    good = [encode(wafer(i)) for i in range(40)]
    unknown = Message(MAPS, b"k", b"x", (("ce_type", b"fabpilot.nothing.v9"),))
    publish(log, [*good, junk(1), encode(wafer(99, lot=BAD)), unknown])
    report = run(log)
    assert (report.consumed, report.produced, report.dead_letters) == (43, 40, 3)
    letters = {letter.error: letter for letter in dead_letters(log)}
    assert set(letters) == {"CodecError", "WaferMapError", "UnknownTypeError"}
    assert letters["CodecError"].value == b"\xc1junk"
    assert letters["CodecError"].source_topic == MAPS
    assert letters["WaferMapError"].reason == "a bad lot"
    assert letters["WaferMapError"].stage == "process"
    assert letters["UnknownTypeError"].source_headers == unknown.headers


def test_a_handler_that_raises_costs_the_culprit_alone(log: EmbeddedLog) -> None:
    def raising(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
        if any(event.event_id == "map-7" for event in events):
            raise ZeroDivisionError("seven")
        return handle(events)

    publish(log, [encode(wafer(i)) for i in range(50)])
    report = run(log, raising)
    assert (report.produced, report.dead_letters) == (49, 1)
    (letter,) = dead_letters(log)
    assert (letter.error, letter.reason) == ("ZeroDivisionError", "seven")


def test_a_handler_with_the_wrong_number_of_answers_loses_nothing(log: EmbeddedLog) -> None:
    publish(log, [encode(wafer(i)) for i in range(5)])
    assert run(log, lambda events: []).dead_letters == 5
    assert {letter.error for letter in dead_letters(log)} == {"ValueError"}


def test_an_output_that_cannot_be_encoded_costs_its_input_alone(log: EmbeddedLog) -> None:
    def huge(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
        size = {"map-3": 6_000_000}
        return [[label_of(e, "x" * size.get(e.event_id, 1))] for e in events]

    publish(log, [encode(wafer(i)) for i in range(10)])
    assert run(log, huge).produced == 9
    assert [letter.error for letter in dead_letters(log)] == ["RecordTooLargeError"]


def test_a_record_whose_headers_do_not_fit_a_letter_is_kept_in_part(log: EmbeddedLog) -> None:
    headers = (("ce_type", b"?"), ("long", b"h" * 60_000))
    publish(log, [Message(MAPS, b"k" * 5_000, b"v" * 5 * 1024 * 1024, headers)])
    assert run(log).dead_letters == 1
    (letter,) = dead_letters(log)
    assert letter.value_bytes == 5 * 1024 * 1024
    assert set(letter.value) == {ord("v")}


def test_a_model_error_stops_the_loop_and_costs_nothing(log: EmbeddedLog) -> None:
    def broken(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
        raise ModelError("no model")

    publish(log, [encode(wafer(i)) for i in range(30)])
    with pytest.raises(ModelError, match="no model"):
        run(log, broken)
    assert log.committed("g", [MAPS]) == {}
    assert run(log).produced == 30
    assert dead_letters(log) == []


def test_a_stop_drains_what_is_in_hand(log: EmbeddedLog) -> None:
    stop = threading.Event()

    def stopping(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
        stop.set()
        return handle(events)

    publish(log, [encode(wafer(i)) for i in range(500)])
    processor = Processor(log, group="g", topics=lambda: [MAPS], handle=stopping, batch=10)
    report = processor.run(stop)
    assert 10 <= report.consumed <= 40
    assert len(labelled(log)) == report.consumed
    # What was not begun is there for the next run.
    assert report.consumed + run(log).consumed == 500
    assert len(labelled(log)) == 500


def test_progress_is_told_after_every_commit(log: EmbeddedLog) -> None:
    publish(log, [encode(wafer(i)) for i in range(64)])
    told: list[int] = []
    Processor(log, group="g", topics=lambda: [MAPS], handle=handle, batch=16).run(
        threading.Event(), until_idle=True, on_progress=lambda report: told.append(report.consumed)
    )
    assert told == sorted(set(told))
    assert told[-1] == 64


def test_a_topic_that_appears_is_picked_up(log: EmbeddedLog) -> None:
    publish(log, [encode(wafer(i)) for i in range(5)])
    log.create_topics({"fab.us2.wafer_maps": 1, "fab.us2.labels": 1})
    topics = [MAPS]
    stop = threading.Event()

    def more(report: ProcessorReport) -> None:
        if report.consumed == 5 and len(topics) == 1:
            other = encode(wafer(77))
            log.append([Message("fab.us2.wafer_maps", other.key, other.value, other.headers)])
            topics.append("fab.us2.wafer_maps")
        if report.consumed == 6:
            stop.set()

    report = Processor(log, group="g", topics=lambda: topics, handle=handle).run(
        stop, on_progress=more
    )
    assert report.consumed == 6


def test_two_processors_share_the_work_and_double_nothing(log: EmbeddedLog) -> None:
    publish(log, [encode(wafer(i)) for i in range(2000)])
    reports: list[ProcessorReport] = []

    def work() -> None:
        reports.append(run(log, batch=20))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(report.consumed for report in reports) == 2000
    assert labelled(log) == sorted(f"w-{i}" for i in range(2000))


@pytest.mark.parametrize("topic", [DEAD, "elsewhere"])
def test_topics_that_no_loop_may_read(log: EmbeddedLog, topic: str) -> None:
    processor = Processor(log, group="g", topics=lambda: [topic], handle=handle)
    with pytest.raises(ConfigError, match=topic):
        processor.run(threading.Event(), until_idle=True)
