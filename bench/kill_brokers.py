"""Brokers of a cluster killed in turn while maps are replayed and processed."""

import argparse
import random
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from bench.fleet import Fleet, home_on, model_option
from bench.stream_watch import Watch, audit, wait_until
from contracts.topics import Stream, topic_name
from fabpilot.wiring import group_name, site_topics
from streaming.open import open_log
from tests.kafka_server import KafkaCluster

__all__ = ["kill_brokers"]

_SITE = "kr1"
# A broker is killed when the replay of the next maps has begun to write, and this much later.
_LATER_S = 0.4


def _offices(admin: Any, node: int) -> list[str]:
    """What a node is now besides a broker: controller, coordinator, leader of maps."""
    group = group_name(_SITE)
    quorum = admin.describe_metadata_quorum()["topics"][0]["partitions"][0]
    coordinators = admin._manager.run(admin._find_coordinator_ids, [group])
    transactions = admin.list_transactions([node])[node]
    (topic,) = admin.describe_topics([topic_name(_SITE, Stream.WAFER_MAPS)])
    held = {
        "controller": quorum["leader_id"] == node,
        "group coordinator": coordinators[group] == node,
        "transaction coordinator": any(group in t.transactional_id for t in transactions),
        "leader": any(p["leader_id"] == node for p in topic["partitions"]),
    }
    return [office for office, holds in held.items() if holds]


def _in_sync(brokers: str, copies: int) -> bool:
    """Whether every partition has all its copies in sync."""
    with suppress(KafkaError):
        admin = KafkaAdminClient(bootstrap_servers=brokers.split(","))
        try:
            topics = admin.describe_topics()
        finally:
            admin.close()
        return all(len(p["isr_nodes"]) == copies for t in topics for p in t["partitions"])
    return False


class Ordeal:
    """A cluster whose nodes die in turn while a fleet works on it."""

    def __init__(self, cluster: KafkaCluster, folder: Path, options: argparse.Namespace) -> None:
        self.url = f"kafka://{cluster.brokers}"
        self._cluster = cluster
        self._wafers, self._kills, self._data = options.wafers, options.kills, options.data
        self._rng = random.Random(options.seed)
        self._home = home_on(self.url, _SITE, folder / "home")
        arguments = ["process", "--batch", "64", *model_option(options.model, folder)]
        self._fleet = Fleet(self._home, arguments, options.processors)
        self.offices: dict[str, int] = {}
        self.recovered_s: list[float] = []
        self.replayed_s: list[float] = []
        self.longest_gap_s: list[float] = []

    def run(self) -> list[int]:
        """Kill, and come to the end; the exit codes of the processors."""
        maps = Watch(self.url, topic_name(_SITE, Stream.WAFER_MAPS))
        answers = Watch(self.url, topic_name(_SITE, Stream.PREDICTIONS))
        try:
            self._fleet.at_work()
            self._replay(self._wafers // (self._kills + 1))
            wait_until(lambda: answers.count > 0, "the first prediction")
            for number in range(self._kills):
                self._fleet.at_work()
                self._kill(number, maps, answers)
            self._fleet.at_work()
            self._replay(self._wafers)
            wait_until(lambda: answers.count >= self._wafers, "the last prediction")
            return self._fleet.rest()
        finally:
            self._fleet.close()
            maps.close()
            answers.close()
            self.failures = len(maps.failures) + len(answers.failures)

    @property
    def ended_badly(self) -> int:
        """Processors that ended though nobody told them to."""
        return self._fleet.ended_badly

    def _replay(self, upto: int) -> None:
        self._home.run("replay", self._data, "--limit", str(upto))

    def _kill(self, number: int, maps: Watch, answers: Watch) -> None:
        """Kill the next node in the midst of a replay, and start it again once work goes on."""
        node = number % len(self._cluster.nodes) + 1
        upto = self._wafers * (number + 2) // (self._kills + 2)
        self._note_offices(node)
        before = maps.count
        replay = self._home.start("replay", self._data, "--limit", str(upto))
        wait_until(lambda: maps.count > before or replay.poll() is not None, "a replay")
        time.sleep(self._rng.uniform(0.0, _LATER_S))
        killed_at = time.monotonic()
        self._cluster.kill(node)
        code = replay.wait(180)
        self.replayed_s.append(time.monotonic() - killed_at)
        if code != 0:
            raise RuntimeError(f"the replay ended with {code} when node {node} was killed")
        # Not just what was on its way: every partition has to go on.
        wait_until(lambda: answers.count >= upto, f"predictions of {upto} maps")
        after = answers.first_after(killed_at)
        if after is not None:
            self.recovered_s.append(after - killed_at)
            done_at = answers.seen_at[-1]
            self.longest_gap_s.append(answers.longest_gap_s(killed_at, done_at))
        self._cluster.start_node(node)
        copies = len(self._cluster.nodes)
        wait_until(lambda: _in_sync(self._cluster.brokers, copies), "all copies in sync")

    def _note_offices(self, node: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._cluster.brokers.split(","))
        try:
            for office in _offices(admin, node) or ["follower"]:
                self.offices[office] = self.offices.get(office, 0) + 1
        finally:
            admin.close()


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {"p50": round(statistics.median(seconds), 2), "max": round(max(seconds), 2)}


def kill_brokers(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """20,000 maps replayed and processed while brokers die in turn: one prediction each."""
    cluster = KafkaCluster(folder / "kafka", nodes=options.nodes)
    cluster.start()
    try:
        log = open_log(f"kafka://{cluster.brokers}")
        log.create_topics(site_topics(_SITE))
        ordeal = Ordeal(cluster, folder, options)
        began = time.monotonic()
        problem, codes = "", [-1]
        try:
            codes = ordeal.run()
        except (TimeoutError, RuntimeError) as error:
            problem = str(error)
        seconds = time.monotonic() - began
        log.close()
        log = open_log(f"kafka://{cluster.brokers}")
        found = audit(log, _SITE)
        log.close()
    finally:
        cluster.stop()
    return {
        **msgspec.to_builtins(found),
        "nodes": options.nodes,
        "processors": options.processors,
        "broker_kills": options.kills,
        "killed_as": ordeal.offices,
        "recovery_s": _spread(ordeal.recovered_s),
        "longest_gap_s": _spread(ordeal.longest_gap_s),
        "replay_s": _spread(ordeal.replayed_s),
        "watch_failures": ordeal.failures,
        "ended_badly": ordeal.ended_badly,
        "exit_codes": codes,
        "seconds": round(seconds, 1),
        "problem": problem,
        "good": found.good(options.wafers)
        and not problem
        and not any(codes)
        and not ordeal.ended_badly,
    }
