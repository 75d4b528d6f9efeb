#!/usr/bin/env python3
"""A real Apache Kafka (KRaft) on loopback, from its Maven artifacts. For development and tests.

    python deploy/kafka-local/kafka_local.py start             # one node at 127.0.0.1:9092
    python deploy/kafka-local/kafka_local.py start --nodes 3   # replication 3, min ISR 2
    python deploy/kafka-local/kafka_local.py start --secure    # TLS and SASL/SCRAM
    python deploy/kafka-local/kafka_local.py status
    python deploy/kafka-local/kafka_local.py stop
    python deploy/kafka-local/kafka_local.py fetch             # what it needs from Maven, no more

Needs Java 17 and, the first time, Maven; nothing else, so that it runs before `make setup` too.
Data, logs and pid files are in `.kafka/` of the repository. The tests use `kafka_cluster`, in
folders of their own.
"""

import argparse
import sys

from kafka_cluster import KafkaCluster
from kafka_tools import HOME, KafkaLocalError, fetch_jars


def _existing() -> list[KafkaCluster]:
    clusters = []
    for folder in sorted(HOME.glob("cluster-*")):
        if (folder / "ports").exists():
            nodes = len((folder / "ports").read_text().splitlines())
            cluster = KafkaCluster(folder, nodes=nodes, secure=(folder / "secrets").exists())
            cluster._choose_ports()
            clusters.append(cluster)
    return clusters


def _start(options: argparse.Namespace) -> None:
    name = f"cluster-{options.nodes}" + ("-secure" if options.secure else "")
    cluster = KafkaCluster(
        HOME / name, nodes=options.nodes, port=options.port, secure=options.secure
    )
    for other in _existing():
        if other.folder != cluster.folder and any(map(other.pid, other.nodes)):
            raise KafkaLocalError(f"{other.folder.name} runs; stop it first: make kafka-stop")
    cluster.start()
    scheme = "kafka+tls" if options.secure else "kafka"
    print(f"Apache Kafka runs; to use it:\n  export FABPILOT_LOG={scheme}://{cluster.brokers}")
    if options.secure:
        print(
            f"  export FABPILOT_KAFKA_CA_FILE={cluster.ca_file}\n"
            "  export FABPILOT_KAFKA_USER=admin\n"
            f"  export FABPILOT_KAFKA_PASSWORD_FILE={cluster.password_file('admin')}"
        )
    print("make kafka-stop ends it; its data stays in", cluster.folder)


def _stop(_options: argparse.Namespace) -> None:
    running_ones = [c for c in _existing() if any(map(c.pid, c.nodes))]
    for cluster in running_ones:
        cluster.stop()
        print(f"stopped {cluster.folder.name}")
    if not running_ones:
        print("no Kafka of ours runs")


def _status(_options: argparse.Namespace) -> None:
    for cluster in _existing():
        for node in cluster.nodes:
            pid = cluster.pid(node)
            print(f"{cluster.folder.name} node {node}:", f"pid {pid}" if pid else "stopped")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    start = commands.add_parser("start", help="start a cluster, or what is missing of it")
    start.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    start.add_argument("--port", type=int, default=9092, help="of the first node's clients")
    start.add_argument("--secure", action="store_true", help="TLS, SASL/SCRAM and ACLs")
    start.set_defaults(run=_start)
    fetch = commands.add_parser("fetch", help="get Kafka by Maven, for later without a network")
    fetch.set_defaults(run=lambda _options: fetch_jars())
    commands.add_parser("stop", help="stop what runs").set_defaults(run=_stop)
    commands.add_parser("status", help="say what runs").set_defaults(run=_status)
    options = parser.parse_args()
    try:
        options.run(options)
    except KafkaLocalError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
