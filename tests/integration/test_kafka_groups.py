"""Groups on Kafka: slow batches, names kept over restarts, beginning elsewhere, large records."""

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient
from kafka.errors import RetriableError

from bench.fleet import home_on, model_option
from bench.stream_watch import Watch, audit, read_all, wait_until
from contracts.clock import SystemClock
from contracts.codec import decode, encode
from contracts.errors import DataError
from contracts.events import DeadLetter, Event, Label, ReviewImage
from contracts.records import TopicPartition
from contracts.topics import Stream, topic_name
from fabpilot.wiring import site_topics
from streaming.kafka import Cluster, KafkaLog
from streaming.log import Log
from streaming.open import open_log
from streaming.processor import Processor, ProcessorReport
from tests.command_line import Command, Home, npz
from tests.factories import sample_events, wafer_grid, wafer_map
from tests.stream_helpers import label_of

pytestmark = pytest.mark.kafka


@pytest.fixture
def site() -> str:
    return f"g-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def log(kafka_brokers: str, site: str) -> Iterator[KafkaLog]:
    log = KafkaLog(Cluster(kafka_brokers))
    log.create_topics(site_topics(site))
    yield log
    log.close()


@pytest.fixture
def at_end() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def events_of(log: Log, topic: str) -> list[Event]:
    return [decode(record.headers, record.value) for record in read_all(log, topic)]


def labelled(log: Log, site: str) -> list[str]:
    events = events_of(log, topic_name(site, Stream.LABELS))
    return sorted(event.substrate_id for event in events if isinstance(event, Label))


class Worker:
    """A processor in a thread of its own, in a group of the site."""

    def __init__(self, log: KafkaLog, site: str, handle: threading.Event | None = None) -> None:
        self.stop = threading.Event()
        self.busy = threading.Event()
        self.report = ProcessorReport()
        self._release = handle
        self._pool = ThreadPoolExecutor(1)
        processor = Processor(
            log,
            group=f"group.{site}",
            topics=lambda: [topic_name(site, Stream.WAFER_MAPS)],
            handle=self._handle,
            batch=20,
        )
        self.done = self._pool.submit(processor.run, self.stop, on_progress=self._note)

    def _handle(self, events: Sequence[Event]) -> list[Sequence[Event]]:
        self.busy.set()
        if self._release is not None:
            assert self._release.wait(120)
        return [[label_of(event, "seen")] for event in events]

    def _note(self, report: ProcessorReport) -> None:
        self.report = report

    def end(self) -> ProcessorReport:
        self.stop.set()
        report = self.done.result(60)
        self._pool.shutdown()
        return report


@pytest.mark.slow
def test_a_slow_batch_keeps_its_partitions_while_another_member_comes_and_goes(
    kafka_brokers: str, log: KafkaLog, site: str
) -> None:
    log.append([encode(wafer_map(n, site=site)) for n in range(400)])
    # Three polls' time is far less than the batch takes.
    hasty = KafkaLog(Cluster(kafka_brokers, poll_interval_ms=3000))
    release = threading.Event()
    slow = Worker(hasty, site, release)
    assert slow.busy.wait(60)
    other = KafkaLog(Cluster(kafka_brokers, poll_interval_ms=3000))
    quick = Worker(other, site)
    # It gets its share although the first one has its hands full, and works it off.
    wait_until(lambda: quick.report.consumed >= 100, "the share of the second member")
    quick.end()
    began = datetime.now(UTC)
    wait_until(lambda: (datetime.now(UTC) - began).total_seconds() > 6, "two poll intervals")
    release.set()
    wait_until(lambda: len(labelled(log, site)) >= 400, "all labels")
    slow.end()
    assert labelled(log, site) == sorted(wafer_map(n).substrate_id for n in range(400))
    assert read_all(log, topic_name(site, Stream.DEAD_LETTERS)) == []
    hasty.close()
    other.close()


def shares(brokers: str, group: str) -> dict[str, set[TopicPartition]]:
    """Partitions by the name of the member that has them, as the broker says."""
    admin = KafkaAdminClient(bootstrap_servers=brokers.split(","))
    try:
        described = admin.describe_groups([group])[group]
    except RetriableError:  # the cluster is only just making what keeps groups
        return {}
    finally:
        admin.close()
    if described["group_state"] != "Stable":
        return {}
    return {
        member["group_instance_id"].rpartition(".")[2]: {
            TopicPartition(topic["topic"], number)
            for topic in member["member_assignment"]["assigned_partitions"]
            for number in topic["partitions"]
        }
        for member in described["members"]
    }


@pytest.mark.slow
def test_a_restart_under_the_same_name_gets_the_same_partitions_and_a_second_one_takes_over(
    kafka_brokers: str, log: KafkaLog, site: str, tmp_path: Path, at_end: ExitStack
) -> None:
    url, group = f"kafka://{kafka_brokers}", f"processor.{site}"
    home = home_on(url, site, tmp_path / "home")
    model = model_option("", tmp_path)
    watch = Watch(url, topic_name(site, Stream.PREDICTIONS))

    def start(name: str) -> Command:
        settings = {"FABPILOT_SITE": site, "FABPILOT_LOG": url, "FABPILOT_INSTANCE": name}
        return at_end.enter_context(Command(Home(home.folder, **settings), "process", *model))

    one, two = start("one"), start("two")
    wait_until(
        lambda: sorted(map(len, shares(kafka_brokers, group).values())) == [2, 2],
        "two members with two partitions each",
    )
    before = shares(kafka_brokers, group)
    # Killed, and started again: nobody waits for its session to time out.
    two.process.kill()
    two.process.wait()
    log.append([encode(wafer_map(n, site=site)) for n in range(0, 1000, 5)])
    again = start("two")
    wait_until(lambda: watch.count == 200, "predictions of all partitions", 14)
    assert shares(kafka_brokers, group) == before
    # While it lives another one comes by its name: that one stays, and the first one says why not.
    other = start("two")
    assert again.process.wait(30) == 1
    assert "another process runs with the same FABPILOT_INSTANCE" in again.said()
    log.append([encode(wafer_map(n, site=site)) for n in range(1, 1000, 5)])
    wait_until(lambda: watch.count == 400, "the rest")
    watch.close()
    assert (one.stop(), other.stop()) == (0, 0)
    assert audit(log, site).good(400)


@pytest.mark.parametrize("kind", ["embedded", "kafka"])
def test_a_new_group_begins_at_a_time_or_an_offset(
    kind: str, kafka_brokers: str, site: str, tmp_path: Path
) -> None:
    url = f"kafka://{kafka_brokers}" if kind == "kafka" else f"embedded:{tmp_path / 'log.db'}"
    home = home_on(url, site, tmp_path / "home")
    model = model_option("", tmp_path)
    data = str(npz(tmp_path / "maps.npz", [wafer_grid(seed=i) for i in range(60)]))
    home.run("replay", data, "--limit", "40")
    assert home.json("process", "--until-idle", *model)["consumed"] == 40
    log = open_log(url)
    topic = topic_name(site, Stream.WAFER_MAPS)
    first = read_all(log, topic)
    # The clock must have moved on, for the time of a record is all that tells before from after.
    last_ms = max(record.timestamp_ms for record in first)
    wait_until(lambda: SystemClock().now_ms() > last_ms, "the next millisecond")
    between = datetime.fromtimestamp((last_ms + 1) / 1000, UTC).isoformat()
    home.run("replay", data)

    def again(start: str) -> int:
        group = f"again.{uuid.uuid4().hex[:8]}"
        options = ["--group", group, "--from", start, "--until-idle", *model]
        consumed = int(home.json("process", *options)["consumed"])
        # It has begun now, and goes on where it stopped whatever it is told.
        assert home.json("process", *options)["consumed"] == 0
        return consumed

    assert again(between) == 20
    assert again("beginning") == 60
    assert again("end") == 0
    partition = max(
        {r.partition for r in first}, key=lambda p: sum(r.partition == p for r in first)
    )
    offsets = sorted(r.offset for r in read_all(log, topic) if r.partition == partition)
    assert again(f"{partition}:{offsets[3]}") == len(offsets) - 3
    # The first group was done with 40 and has not heard of any of this.
    assert home.json("process", "--until-idle", *model)["consumed"] == 20
    log.close()


def test_a_review_image_of_4_mb_goes_all_the_way_and_into_dead_letters(
    log: KafkaLog, site: str
) -> None:
    sample = sample_events()["fabpilot.review_image.v1"]
    assert isinstance(sample, ReviewImage)
    # As incompressible as a real PNG.
    png = b"\x89PNG\r\n\x1a\n" + os.urandom(4_000_000)
    image = msgspec.structs.replace(sample, site=site, png=png)
    topic = topic_name(site, Stream.REVIEW_IMAGES)
    log.append([encode(image)])
    assert events_of(log, topic) == [image]

    def refuse(events: Sequence[Event]) -> list[DataError]:
        return [DataError("not today") for _ in events]

    Processor(log, group=f"images.{site}", topics=lambda: [topic], handle=refuse).run(
        threading.Event(), until_idle=True
    )
    (letter,) = events_of(log, topic_name(site, Stream.DEAD_LETTERS))
    assert isinstance(letter, DeadLetter)
    assert letter.value == encode(image).value
    assert letter.reason == "not today"
