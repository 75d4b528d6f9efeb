"""Kafka with TLS, SASL/SCRAM and an authorizer: who is let in, who is not, and what they hear."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from contracts.codec import encode
from contracts.errors import LogAccessError
from contracts.records import Message, TopicPartition
from contracts.topics import Stream, topic_name
from fabpilot.controller import controller_topics
from fabpilot.wiring import group_name, site_topics
from streaming.log import Log
from streaming.open import KafkaAccess, open_log
from streaming.processor import Processor
from tests.kafka_rights import (
    Right,
    Rights,
    access,
    another_authority,
    documented,
    log_as,
    roles,
    secure_cluster,
    url,
)
from tests.kafka_server import KafkaCluster
from tests.stream_helpers import LABELS, MAPS, handle, wafer

pytestmark = pytest.mark.kafka

SITE = "kr1"
# Kafka's client gives up after 15 s. Who is refused hears of it long before, on a busy machine too.
SOON_S = 8.0


@pytest.fixture(scope="module")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with secure_cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(secure_kafka: KafkaCluster) -> Iterator[Log]:
    log = log_as(secure_kafka, "admin")
    log.create_topics(site_topics(SITE))
    yield log
    log.close()


@pytest.fixture(scope="module")
def rights(secure_kafka: KafkaCluster) -> Iterator[Rights]:
    made = Rights(secure_kafka)
    yield made
    made.close()


def write(log: Log) -> None:
    log.append([encode(wafer(1))])


def write_once(log: Log) -> None:
    log.append([encode(wafer(1))], source="test", position=1)


def read(log: Log) -> None:
    reader = log.reader([MAPS], "beginning")
    try:
        reader.poll(1, 0.0)
    finally:
        reader.close()


def consume(log: Log) -> None:
    member = log.consumer("test", [MAPS])
    try:
        member.poll(1, 0.0)
    finally:
        member.close()


def create(log: Log) -> None:
    log.create_topics({"fab.kr1.another": 1})


def place(log: Log) -> None:
    log.start_group("another", {TopicPartition(MAPS, 0): 0})


DEEDS = (write, write_once, read, consume, create, place)


def refused(log: Log, deed: Callable[[Log], None], admin: Log) -> str:
    """What a deed is refused with; it takes no time-out, and nothing is written."""
    before, topics = admin.ends([MAPS]), admin.topics()
    began = time.monotonic()
    try:
        with pytest.raises(LogAccessError) as caught:
            deed(log)
    finally:
        log.close()
    assert time.monotonic() - began < SOON_S
    assert (admin.ends([MAPS]), admin.topics()) == (before, topics)
    return str(caught.value)


def test_the_log_works_over_tls_with_a_password(secure_kafka: KafkaCluster, admin: Log) -> None:
    source, target = "fab.tls.wafer_maps", "fab.tls.labels"
    admin.create_topics({source: 1, target: 1})
    assert admin.append([Message(source, b"k", b"1")], source="tls", position=1)
    assert not admin.append([Message(source, b"k", b"1")], source="tls", position=1)
    member = admin.consumer("tls", [source])
    records = member.poll(10, 5.0)
    while not records:
        records = member.poll(10, 5.0)
    member.commit([Message(target, b"k", b"seen")], {TopicPartition(source, 0): 1})
    member.close()
    assert [record.value for record in records] == [b"1"]
    assert admin.committed("tls", [source]) == {TopicPartition(source, 0): 1}
    reader = admin.reader([target], "beginning")
    assert [record.value for record in reader.poll(10, 10.0)] == [b"seen"]
    reader.close()


def test_a_secure_cluster_keeps_its_secrets_to_its_owner(secure_kafka: KafkaCluster) -> None:
    secret = [
        *(secure_kafka.folder / "secrets").iterdir(),
        *secure_kafka.folder.glob("*.properties"),
    ]
    for path in (secure_kafka.folder, secure_kafka.folder / "secrets"):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in secret:
        assert path == secure_kafka.ca_file or path.stat().st_mode & 0o777 == 0o600, path


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("user", ["admin", "nobody"])
def test_who_does_not_know_the_password_is_told_at_once(
    secure_kafka: KafkaCluster, admin: Log, user: str, deed: Callable[[Log], None]
) -> None:
    wrong = KafkaAccess(secure_kafka.ca_file, user, password=SecretStr("a guess"))
    said = refused(open_log(url(secure_kafka), wrong), deed, admin)
    assert f"does not let user '{user}' in" in said
    assert secure_kafka.brokers in said
    assert "FABPILOT_KAFKA_PASSWORD_FILE" in said


def another_cluster(secure_kafka: KafkaCluster, folder: Path) -> tuple[str, KafkaAccess]:
    ca_file = another_authority(folder / "other")
    return url(secure_kafka), msgspec.structs.replace(
        access(secure_kafka, "admin"), ca_file=ca_file
    )


def the_systems_authorities(secure_kafka: KafkaCluster, _folder: Path) -> tuple[str, KafkaAccess]:
    return url(secure_kafka), msgspec.structs.replace(access(secure_kafka, "admin"), ca_file=None)


def another_name(secure_kafka: KafkaCluster, _folder: Path) -> tuple[str, KafkaAccess]:
    # The same address, written as its certificate does not.
    return url(secure_kafka).replace("127.0.0.1", "127.1"), access(secure_kafka, "admin")


def no_tls(secure_kafka: KafkaCluster, _folder: Path) -> tuple[str, KafkaAccess]:
    return f"kafka://{secure_kafka.brokers}", KafkaAccess()


def nobody(secure_kafka: KafkaCluster, _folder: Path) -> tuple[str, KafkaAccess]:
    return url(secure_kafka), KafkaAccess(secure_kafka.ca_file)


def a_plain_port(secure_kafka: KafkaCluster, _folder: Path) -> tuple[str, KafkaAccess]:
    # Where the nodes talk to each other.
    return f"kafka+tls://127.0.0.1:{secure_kafka._ports[1][1]}", access(secure_kafka, "admin")


@pytest.mark.parametrize("deed", [write, consume, read], ids=lambda deed: deed.__name__)
@pytest.mark.parametrize(
    ("door", "said"),
    [
        (another_cluster, "not trusted .*other/ca.pem.*FABPILOT_KAFKA_CA_FILE"),
        (the_systems_authorities, "not trusted .*the system's.*FABPILOT_KAFKA_CA_FILE"),
        (another_name, r"for another name \(.*127\.1.*FABPILOT_LOG"),
        (no_tls, r"speaks TLS; write kafka\+tls:// .* in FABPILOT_LOG"),
        (a_plain_port, "does not speak TLS; write kafka:// .* in FABPILOT_LOG"),
        (nobody, "nobody in without a name; set FABPILOT_KAFKA_USER"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_wrong_door_is_said_with_what_to_change(
    secure_kafka: KafkaCluster,
    admin: Log,
    tmp_path: Path,
    door: Callable[[KafkaCluster, Path], tuple[str, KafkaAccess]],
    said: str,
    deed: Callable[[Log], None],
) -> None:
    message = refused(open_log(*door(secure_kafka, tmp_path)), deed, admin)
    assert re.search(said, message), message


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_who_has_no_rights_is_told_which_and_where_they_are_listed(
    secure_kafka: KafkaCluster, admin: Log, deed: Callable[[Log], None]
) -> None:
    said = refused(log_as(secure_kafka, "stranger"), deed, admin)
    assert "Access" in said
    missing = {create: "making topic fab.kr1.another", place: "group"}
    assert missing.get(deed, MAPS) in said


class Work:
    """What each role does with the log, in as few calls as show all of its rights."""

    def __init__(self, admin: Log) -> None:
        self._admin = admin
        self._number = 0

    def do(self, role: str, log: Log) -> None:
        self._number += 1
        getattr(self, f"_{role}")(log)

    def _message(self, stream: Stream) -> Message:
        return Message(topic_name(SITE, stream), b"k", b"v")

    def _append(self, log: Log, source: str, *streams: Stream) -> None:
        for stream in streams:
            self._number += 1
            log.append([self._message(stream)], source=source, position=self._number)

    def _read(self, log: Log, topics: list[str]) -> None:
        log.create_topics(site_topics(SITE))
        log.ends(topics)
        reader = log.reader(topics, "beginning")
        try:
            seen = {record.topic for record in reader.poll(5000, 5.0)}
            while seen != {topic for (topic, _), end in log.ends(topics).items() if end}:
                seen |= {record.topic for record in reader.poll(5000, 5.0)}
        finally:
            reader.close()

    def _setup(self, log: Log) -> None:
        topic = f"fab.{SITE}.made{self._number}"
        log.create_topics({topic: 1})
        assert log.topics()[topic] == 1

    def _replay(self, log: Log) -> None:
        log.create_topics(site_topics(SITE))
        source = f"replay.{SITE}.{self._number}"
        self._append(log, source, Stream.WAFER_MAPS, Stream.DEAD_LETTERS)

    def _fab(self, log: Log) -> None:
        log.create_topics(site_topics(SITE))
        self._append(log, f"fab.{SITE}", Stream.PROCESS, Stream.TRACES)
        self._read(log, [topic_name(SITE, Stream.ACTIONS)])

    def _processor(self, log: Log) -> None:
        self._process(log, group_name(SITE), Stream.WAFER_MAPS, Stream.PREDICTIONS)

    def _traces(self, log: Log) -> None:
        group = group_name(SITE, "metrology")
        self._process(log, group, Stream.TRACES, Stream.CHARTS, Stream.JUDGEMENTS)

    def _process(self, log: Log, group: str, reads: Stream, *writes: Stream) -> None:
        self._admin.append([self._message(reads)])
        log.create_topics(site_topics(SITE))
        topic = topic_name(SITE, reads)
        log.committed(group, [topic])
        member = log.consumer(group, [topic])
        try:
            records = member.poll(1000, 5.0)
            while not records:
                records = member.poll(1000, 5.0)
            outputs = [self._message(stream) for stream in (*writes, Stream.DEAD_LETTERS)]
            member.commit(outputs, {r.topic_partition: r.offset + 1 for r in records})
        finally:
            member.close()

    def _controller(self, log: Log) -> None:
        self._read(log, controller_topics(SITE))
        source = f"outbox.controller.{SITE}"
        told = (Stream.ALERTS, Stream.ACTIONS, Stream.RISKS, Stream.CHARTS)
        self._append(log, source, *told, Stream.DEAD_LETTERS)

    def _console(self, log: Log) -> None:
        self._read(log, list(site_topics(SITE)))
        log.committed(group_name(SITE), [MAPS])
        self._append(log, "outbox.console-decisions", Stream.LABELS, Stream.WAFER_MAPS)

    def _tail(self, log: Log) -> None:
        self._read(log, [topic_name(SITE, stream) for stream in Stream])


@pytest.fixture(scope="module")
def work(admin: Log) -> Work:
    admin.append([Message(topic, b"k", b"v") for topic in site_topics(SITE)])
    return Work(admin)


@pytest.mark.parametrize("role", roles())
def test_the_documented_rights_of_a_role_are_enough(
    secure_kafka: KafkaCluster, rights: Rights, work: Work, role: str
) -> None:
    rights.only("fabpilot", documented(role, SITE))
    log = log_as(secure_kafka, "fabpilot")
    work.do(role, log)
    log.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "missing"),
    [(role, right) for role in roles() for right in documented(role, SITE)],
    ids=lambda one: one if isinstance(one, str) else "-".join(one),
)
def test_none_of_them_is_too_many(
    secure_kafka: KafkaCluster, rights: Rights, work: Work, role: str, missing: Right
) -> None:
    rights.only("fabpilot", [right for right in documented(role, SITE) if right != missing])
    log = log_as(secure_kafka, "fabpilot")
    try:
        with pytest.raises(LogAccessError, match="Access"):
            work.do(role, log)
    finally:
        log.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "taken",
    [
        Right("topic", MAPS, "Read"),
        Right("topic", LABELS, "Write"),
        Right("group", "test.taken", "Read"),
        Right("transactional id", "fabpilot.test.taken*", "Write"),
    ],
    ids=lambda right: right.resource,
)
def test_a_right_taken_from_a_running_processor_ends_it_and_loses_nothing(
    secure_kafka: KafkaCluster,
    admin: Log,
    rights: Rights,
    taken: Right,
    request: pytest.FixtureRequest,
) -> None:
    group, stamp = "test.taken", request.node.name
    granted = [
        Right("topic", f"fab.{SITE}.*", "Describe"),
        Right("topic", MAPS, "Read"),
        Right("topic", LABELS, "Write"),
        Right("group", group, "Read"),
        Right("transactional id", f"fabpilot.{group}*", "Write"),
    ]
    rights.only("fabpilot", granted)
    seen = admin.ends([LABELS])
    admin.start_group(group, admin.ends([MAPS]))
    first, second = ([wafer(i, lot=f"{stamp}-{n}") for i in range(20)] for n in (1, 2))

    def processor() -> Processor:
        log = log_as(secure_kafka, "fabpilot")
        request.addfinalizer(log.close)
        return Processor(log, group=group, topics=lambda: [MAPS], handle=handle)

    admin.append([encode(event) for event in first])
    stop, committed = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            processor().run(stop, on_progress=lambda _: committed.set())
        except LogAccessError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert committed.wait(60)
        rights.only("fabpilot", [right for right in granted if right != taken])
        admin.append([encode(event) for event in second])
        thread.join(60)
    finally:
        stop.set()
        thread.join(60)
    assert "Access" in str(failures[0])

    rights.only("fabpilot", granted)
    processor().run(threading.Event(), until_idle=True)
    reader = admin.reader([LABELS], seen)
    labels: list[str] = []
    ends = admin.ends([LABELS])
    while any(reader.positions()[place] < end for place, end in ends.items()):
        labels += [record.key.decode() for record in reader.poll(1000, 1.0)]
    reader.close()
    assert len(labels) == len(first) + len(second)
