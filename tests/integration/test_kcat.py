"""Another client on the same topics: kcat reads what we write, and we bear what it writes."""

import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.stream_watch import read_all
from contracts.codec import decode, encode
from contracts.events import DeadLetter, Label
from contracts.topics import Stream, topic_name
from fabpilot.wiring import site_topics
from streaming.log import Log
from streaming.open import open_log
from streaming.processor import Processor
from tests.factories import wafer_map
from tests.stream_helpers import label_of

pytestmark = pytest.mark.kafka


class Kcat:
    """The command, on one cluster."""

    def __init__(self, brokers: str, folder: Path) -> None:
        self._brokers = brokers
        self._folder = folder

    def run(self, *arguments: str, given: bytes = b"") -> bytes:
        command = ["kcat", "-b", self._brokers, "-X", "allow.auto.create.topics=false", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def produce(self, topic: str, value: bytes, *arguments: str) -> None:
        """One record with this value."""
        if not value:
            # Of an empty file kcat makes no record; of a line that ends after the key it does.
            self.run("-P", "-t", topic, "-K:", *arguments, given=b"k:\n")
            return
        file = self._folder / uuid.uuid4().hex
        file.write_bytes(value)
        self.run("-P", "-t", topic, *arguments, str(file))


@pytest.fixture
def kcat(kafka_brokers: str, tmp_path: Path) -> Kcat:
    if not shutil.which("kcat"):
        if os.environ.get("CI"):
            pytest.fail("kcat is required in CI; .ci/run installs it")
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")
    return Kcat(kafka_brokers, tmp_path)


@pytest.fixture
def site() -> str:
    return f"kcat-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def log(kafka_brokers: str, site: str) -> Iterator[Log]:
    log = open_log(f"kafka://{kafka_brokers}")
    wanted = (Stream.WAFER_MAPS, Stream.LABELS, Stream.DEAD_LETTERS)
    topics = {
        topic_name(site, stream): site_topics(site)[topic_name(site, stream)] for stream in wanted
    }
    log.create_topics(topics)
    yield log
    log.close()


def process(log: Log, site: str) -> list[DeadLetter]:
    """Answer every map with a label; the dead letters."""
    Processor(
        log,
        group=f"kcat.{site}",
        topics=lambda: [topic_name(site, Stream.WAFER_MAPS)],
        handle=lambda events: [[label_of(event, "seen")] for event in events],
    ).run(threading.Event(), until_idle=True)
    letters = [
        decode(record.headers, record.value)
        for record in read_all(log, topic_name(site, Stream.DEAD_LETTERS))
    ]
    return [letter for letter in letters if isinstance(letter, DeadLetter)]


def labels(log: Log, site: str) -> list[Label]:
    events = [decode(r.headers, r.value) for r in read_all(log, topic_name(site, Stream.LABELS))]
    return [event for event in events if isinstance(event, Label)]


def test_kcat_lists_our_topics(kcat: Kcat, log: Log, site: str) -> None:
    listed = kcat.run("-L").decode()
    assert f'topic "{topic_name(site, Stream.WAFER_MAPS)}" with 4 partitions' in listed


def test_kcat_reads_a_map_and_its_cloudevents_headers(kcat: Kcat, log: Log, site: str) -> None:
    message = encode(wafer_map(3, site=site))
    log.append([message])
    read = ["-C", "-t", message.topic, "-o", "beginning", "-e", "-q"]
    read += ["-X", "isolation.level=read_committed"]
    headers = dict(pair.split("=", 1) for pair in kcat.run(*read, "-f", "%h").decode().split(","))
    assert headers["ce_type"] == "fabpilot.wafer_map.v1"
    assert headers["ce_id"] == "map-3"
    assert headers["content-type"] == "application/msgpack"
    assert kcat.run(*read, "-f", "%k") == message.key
    assert kcat.run(*read, "-f", "%s") == message.value


ODD: dict[str, tuple[bytes, Sequence[str], bytes, tuple[tuple[str, bytes], ...]]] = {
    "binary, no headers, no key": (bytes(range(256)) * 4, (), b"", ()),
    "odd headers": (
        b"\xc1\x00\xff",
        (
            "-k",
            "lot",
            "-H",
            "ce_type=\u0444\u0430\u0431",
            "-H",
            "twice=1",
            "-H",
            "twice=2",
            "-H",
            "bare",
        ),
        b"lot",
        (
            ("ce_type", "\u0444\u0430\u0431".encode()),
            ("twice", b"1"),
            ("twice", b"2"),
            ("bare", b""),
        ),
    ),
    "empty value": (b"", (), b"k", ()),
    "no value": (b"", ("-Z",), b"k", ()),
    "our type, not our bytes": (
        b"hello",
        ("-k", "k", "-H", "ce_type=fabpilot.wafer_map.v1"),
        b"k",
        (("ce_type", b"fabpilot.wafer_map.v1"),),
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_what_kcat_writes_amiss_ends_in_dead_letters_as_it_was(
    kcat: Kcat, log: Log, site: str, what: str
) -> None:
    value, arguments, key, headers = ODD[what]
    topic = topic_name(site, Stream.WAFER_MAPS)
    log.append([encode(wafer_map(1, site=site))])
    kcat.produce(topic, value, *arguments)
    log.append([encode(wafer_map(2, site=site))])
    (letter,) = process(log, site)
    assert (letter.value, letter.source_key, letter.source_headers) == (value, key, headers)
    assert sorted(label.substrate_id for label in labels(log, site)) == ["L0000.02", "L0000.03"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_of_other_clients_is_read(kcat: Kcat, log: Log, site: str, codec: str) -> None:
    message = encode(wafer_map(5, site=site))
    headers = [part for n, v in message.headers for part in ("-H", f"{n}={v.decode()}")]
    kcat.produce(message.topic, message.value, "-z", codec, "-k", message.key.decode(), *headers)
    kcat.produce(message.topic, b"junk" * 500, "-z", codec)
    (letter,) = process(log, site)
    assert letter.value == b"junk" * 500
    assert [label.substrate_id for label in labels(log, site)] == ["L0000.06"]
