"""A Kafka that is away: what works on it waits, says so, and loses and doubles nothing."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.fleet import home_on, model_option
from bench.stream_watch import Watch, audit, wait_until
from contracts.topics import Stream, topic_name
from fabpilot.wiring import group_name
from streaming.open import open_log
from tests.command_line import Command, Home, npz
from tests.factories import wafer_grid
from tests.kafka_server import KafkaCluster, missing

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

WAFERS = 4000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    if problem := missing(own=True):
        pytest.skip(problem)
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def home(cluster: KafkaCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    """Commands on that cluster, for a site of the test's own."""
    site = f"s{zlib.crc32(request.node.nodeid.encode())}"
    return home_on(f"kafka://{cluster.brokers}", site, tmp_path / "home")


def settings(home: Home) -> tuple[str, str]:
    return home.environment["FABPILOT_LOG"], home.environment["FABPILOT_SITE"]


@pytest.fixture
def answers(home: Home) -> Iterator[Watch]:
    url, site = settings(home)
    watch = Watch(url, topic_name(site, Stream.PREDICTIONS))
    yield watch
    watch.close()


def replay(home: Home, folder: Path, count: int = WAFERS) -> str:
    data = npz(folder / "maps.npz", [wafer_grid(26, 26, 0.1, i) for i in range(count)])
    home.run("replay", str(data))
    return str(data)


def check(home: Home, count: int = WAFERS) -> None:
    url, site = settings(home)
    log = open_log(url)
    found = audit(log, site)
    log.close()
    assert found.good(count), found


def test_a_processor_waits_for_a_broker_that_is_down(
    cluster: KafkaCluster, home: Home, tmp_path: Path, answers: Watch
) -> None:
    replay(home, tmp_path, 200)
    cluster.stop()
    processor = Command(home, "process", *model_option("", tmp_path))
    processor.says("waiting for the log")
    cluster.start()
    wait_until(lambda: answers.count == 200, "predictions")
    assert processor.stop() == 0
    # A wafer with a pattern has a line of its own, which leads to its alert.
    lines = [line for line in processor.said().splitlines() if '"wafer suspicious"' not in line]
    assert len(lines) <= 6, lines
    assert any("the log answers again" in line for line in lines)
    check(home, 200)


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_work_resumes_after_an_outage(
    cluster: KafkaCluster, home: Home, tmp_path: Path, answers: Watch, how: str
) -> None:
    replay(home, tmp_path)
    processor = Command(home, "process", "--batch", "32", *model_option("", tmp_path))
    wait_until(lambda: answers.count > 100, "the first predictions")
    before = answers.count
    if how == "killed":
        cluster.kill(1)
        processor.says("waiting for the log")
        cluster.start_node(1)
    else:
        cluster.pause(1)
        try:
            processor.says("waiting for the log")
        finally:
            cluster.resume(1)
    assert before < WAFERS
    wait_until(lambda: answers.count >= WAFERS, "the last prediction")
    assert processor.stop() == 0
    check(home)


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_a_processor_ends_in_an_outage_and_loses_nothing(
    cluster: KafkaCluster, home: Home, tmp_path: Path, answers: Watch, how: str
) -> None:
    model = model_option("", tmp_path)
    replay(home, tmp_path)
    processor = Command(home, "process", "--batch", "32", *model)
    wait_until(lambda: answers.count > 100, "the first predictions")
    if how == "killed":
        cluster.kill(1)
    else:
        cluster.pause(1)
    try:
        assert processor.stop() == 0
    finally:
        if how == "killed":
            cluster.start_node(1)
        else:
            cluster.resume(1)
    home.run("process", "--until-idle", *model)
    check(home)


def test_a_processor_that_is_told_to_end_commits_what_it_has_in_hand(
    home: Home, tmp_path: Path, answers: Watch
) -> None:
    model = model_option("", tmp_path)
    # More than it can do between its first answers and the signal.
    wafers = 20_000
    replay(home, tmp_path, wafers)
    processor = Command(home, "process", "--batch", "32", "--json", *model)
    wait_until(lambda: answers.count > 100, "the first predictions")
    assert processor.stop() == 0
    first = processor.report()
    url, site = settings(home)
    log = open_log(url)
    stands = log.committed(group_name(site), [topic_name(site, Stream.WAFER_MAPS)])
    log.close()
    assert 0 < first["consumed"] < wafers
    # Nothing is read again: the offsets are those after the last records that it answered.
    second = home.json("process", "--until-idle", *model)
    assert first["consumed"] + second["consumed"] == wafers
    # The markers of the replay's transactions have offsets too.
    assert first["consumed"] <= sum(stands.values()) <= first["consumed"] + 4 * (wafers // 500)
    check(home, wafers)


def test_a_replay_goes_on_after_an_outage(
    cluster: KafkaCluster, home: Home, tmp_path: Path
) -> None:
    data = npz(tmp_path / "maps.npz", [wafer_grid(26, 26, 0.1, i) for i in range(20_000)])
    url, site = settings(home)
    log = open_log(url)
    home.run("replay", str(data), "--limit", "500")
    maps = Watch(url, topic_name(site, Stream.WAFER_MAPS))
    going = Command(home, "replay", str(data), "--json")
    wait_until(lambda: maps.count > 1000, "maps")
    cluster.kill(1)
    going.says("waiting for the log")
    cluster.start_node(1)
    assert going.process.wait(120) == 0
    assert going.report()["published"] == 19_500
    wait_until(lambda: maps.count >= 20_000, "the last map")
    maps.close()
    found = audit(log, site)
    log.close()
    assert (found.maps, found.distinct_maps) == (20_000, 20_000)
