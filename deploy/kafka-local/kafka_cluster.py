"""Nodes of a real Apache Kafka (KRaft) on loopback: started, killed, paused, stopped."""

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from kafka_secrets import USERS, make_secrets
from kafka_tools import HERE, KafkaLocalError, fetch_jars, free_ports, run

__all__ = ["KafkaCluster", "running"]

START_LIMIT_S = 90.0
# A node that is told to end hands its partitions over first.
STOP_LIMIT_S = 30.0


class KafkaCluster:
    """Nodes that are broker and controller at once, on loopback. Making one starts nothing.

    Args:
        folder: for data, logs and pid files; a cluster that was here before is started again with
            the data it had.
        nodes: 1, or 3 for replication 3 with min ISR 2.
        port: of the first node's clients; others follow with a distance of 10. 0 takes free ones.
        secure: clients come by TLS with SASL/SCRAM-SHA-512 and need ACLs; users and passwords are
            in `folder/secrets`, with the certificate to trust. Nodes among themselves speak
            plainly: all of it is on loopback. `admin` may do everything, `fabpilot` and `stranger`
            nothing until they are given rights.
        heap_mb: of each node.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        port: int = 0,
        secure: bool = False,
        heap_mb: int = 512,
    ) -> None:
        self.folder = folder.absolute()
        self.nodes = range(1, nodes + 1)
        self.secure = secure
        self._heap_mb = heap_mb
        self._first_port = port
        self._ports: dict[int, tuple[int, int, int]] = {}

    @property
    def brokers(self) -> str:
        """host:port of every node, comma-separated."""
        return ",".join(f"127.0.0.1:{self._ports[node][0]}" for node in self.nodes)

    @property
    def ca_file(self) -> Path:
        """The certificate that clients of a secure cluster must trust."""
        return self.folder / "secrets" / "ca.pem"

    def password_file(self, user: str) -> Path:
        """The file with a user's password."""
        return self.folder / "secrets" / user

    def start(self) -> None:
        """Start every node that does not run and wait until clients are served.

        Raises:
            KafkaLocalError: Java or Maven is missing, or a node does not start.
        """
        jars = fetch_jars()
        # A secure cluster keeps what its users prove themselves by in its data too.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._choose_ports()
        if self.secure:
            make_secrets(self.folder / "secrets")
        for node in self.nodes:
            if not self._data(node).joinpath("meta.properties").exists():
                self._format(node, jars)
        started = [node for node in self.nodes if not self.pid(node)]
        for node in started:
            self._launch(node, jars)
        for node in started:
            self.wait(node)

    def start_node(self, node: int, *, wait: bool = True) -> None:
        """Start one node again."""
        self._launch(node, fetch_jars())
        if wait:
            self.wait(node)

    def wait(self, node: int, limit_s: float = START_LIMIT_S) -> None:
        """Wait until a node that was started serves clients."""
        deadline = time.monotonic() + limit_s
        log = self._log(node)
        while time.monotonic() < deadline:
            if not self.pid(node):
                break
            if log.exists() and "Kafka Server started" in log.read_text(errors="replace"):
                return
            time.sleep(0.1)
        tail = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        errors = self.folder / f"node-{node}.err"
        tail += errors.read_text(errors="replace").splitlines()[-5:] if errors.exists() else []
        raise KafkaLocalError(f"node {node} did not start; see {log}:\n" + "\n".join(tail))

    def kill(self, node: int) -> None:
        """End a node with SIGKILL."""
        self._signal(node, signal.SIGKILL)

    def pause(self, node: int) -> None:
        """Stop a node in its tracks (SIGSTOP); it holds its connections and answers nothing."""
        self._signal(node, signal.SIGSTOP, ends=False)

    def resume(self, node: int) -> None:
        """Let a paused node go on."""
        self._signal(node, signal.SIGCONT, ends=False)

    def stop(self) -> None:
        """End all nodes; their data stays."""
        pids = {node: self.pid(node) for node in self.nodes}
        for pid in filter(None, pids.values()):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT_S
        while any(map(self.pid, self.nodes)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for node in self.nodes:
            self.kill(node)

    def pid(self, node: int) -> int:
        """The process of a node, 0 if it does not run."""
        try:
            pid = int(self._pid_file(node).read_text())
            # A pid may have gone to somebody else since; ours names its folder (and nothing at all
            # for a moment while it begins).
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        if _state(pid) == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            return 0
        return pid if not command or str(self._properties(node)).encode() in command else 0

    def _signal(self, node: int, number: int, *, ends: bool = True) -> None:
        if not (pid := self.pid(node)):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        while ends and self.pid(node):
            time.sleep(0.01)

    def _data(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def _log(self, node: int) -> Path:
        return self.folder / f"node-{node}.log"

    def _pid_file(self, node: int) -> Path:
        return self.folder / f"node-{node}.pid"

    def _properties(self, node: int) -> Path:
        return self.folder / f"node-{node}.properties"

    def _choose_ports(self) -> None:
        """Client, node and controller port of every node; kept over restarts."""
        file = self.folder / "ports"
        if file.exists():
            rows = [tuple(map(int, line.split())) for line in file.read_text().splitlines()]
        elif self._first_port:
            firsts = [self._first_port + 10 * (node - 1) for node in self.nodes]
            rows = [(first, first + 1, first + 2) for first in firsts]
        else:
            free = iter(free_ports(3 * len(self.nodes)))
            rows = list(zip(free, free, free, strict=True))
        if len(rows) != len(self.nodes):
            raise KafkaLocalError(
                f"{self.folder} holds a cluster of {len(rows)} nodes, not {len(self.nodes)};"
                " remove the folder to begin anew"
            )
        file.write_text("".join("{} {} {}\n".format(*row) for row in rows))
        self._ports = {node: (a, b, c) for node, (a, b, c) in zip(self.nodes, rows, strict=True)}

    def _format(self, node: int, jars: Path) -> None:
        identity = self.folder / "cluster-id"
        if not identity.exists():
            identity.write_text(
                base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").lstrip("-")
            )
        self._write_properties(node)
        options = ["--cluster-id", identity.read_text(), "--config", str(self._properties(node))]
        for user in USERS if self.secure else ():
            password = self.password_file(user).read_text()
            options += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        # By a file, one argument a line: a command line is for everybody on the machine to see.
        file = self.folder / f"node-{node}.format"
        file.touch(mode=0o600)
        try:
            file.write_text("\n".join(options))
            run([*self._java(node, jars), "kafka.tools.StorageTool", "format", f"@{file}"])
        finally:
            file.unlink()

    def _write_properties(self, node: int) -> None:
        lines = "".join(f"{name}={value}\n" for name, value in self._settings(node).items())
        self._properties(node).touch(mode=0o600)
        self._properties(node).write_text(lines)

    def _settings(self, node: int) -> dict[str, object]:
        clients, between, controller = self._ports[node]
        voters = ",".join(f"{n}@127.0.0.1:{self._ports[n][2]}" for n in self.nodes)
        copies, in_sync = (3, 2) if len(self.nodes) >= 3 else (1, 1)
        settings: dict[str, object] = {
            "node.id": node,
            "process.roles": "broker,controller",
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "NODES",
            "listeners": f"CLIENTS://127.0.0.1:{clients},NODES://127.0.0.1:{between},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{clients},NODES://127.0.0.1:{between}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,NODES:PLAINTEXT,CLIENTS:"
            + ("SASL_SSL" if self.secure else "PLAINTEXT"),
            "log.dirs": self._data(node),
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            # A review image has up to 4 MB, a dead letter a little more than a record.
            "message.max.bytes": 6 * 1024 * 1024,
            "replica.fetch.max.bytes": 6 * 1024 * 1024,
            # Positions of sources are offsets of groups that may commit rarely (docs/streaming.md).
            "offsets.retention.minutes": 365 * 24 * 60,
            # For one small machine: fewer internal partitions, and no pause of three seconds in
            # which a new group waits for more members.
            "offsets.topic.num.partitions": 8,
            "transaction.state.log.num.partitions": 8,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": 0,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        }
        if self.secure:
            store = self.folder / "secrets" / "keystore.p12"
            settings |= {
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.clients.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common"
                ".security.scram.ScramLoginModule required;",
                "ssl.keystore.type": "PKCS12",
                "ssl.keystore.location": store,
                "ssl.keystore.password": (self.folder / "secrets" / "keystore").read_text(),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                # The nodes are anonymous to each other; clients cannot be, they come by SASL. So
                # whoever can reach the ports of the nodes on this machine may do anything there:
                # good enough to develop and test with, and no example for a real cluster.
                "super.users": "User:ANONYMOUS;User:admin",
            }
        return settings

    def _java(self, node: int, jars: Path) -> list[str]:
        return [
            shutil.which("java") or "java",
            f"-Xmx{self._heap_mb}m",
            f"-Xms{self._heap_mb // 2}m",
            # The first compiler alone. The second takes whole cores for the first minutes of a
            # node's life, which is most of it here (docs/performance.md, "Latency").
            "-XX:TieredStopAtLevel=1",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={HERE / 'log4j2.yaml'}",
            f"-Dfabpilot.log={self._log(node)}",
            "-cp",
            f"{jars}/*",
        ]

    def _launch(self, node: int, jars: Path) -> None:
        self._write_properties(node)
        # The log tells when this start is complete; that of an earlier one must not.
        with contextlib.suppress(FileNotFoundError):
            self._log(node).replace(self._log(node).with_suffix(".log.before"))
        with (self.folder / f"node-{node}.err").open("wb") as errors:
            process = subprocess.Popen(
                [*self._java(node, jars), "kafka.Kafka", str(self._properties(node))],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                # Ctrl-C in the terminal is for the command that started us, not for the broker.
                start_new_session=True,
            )
        self._pid_file(node).write_text(str(process.pid))
        # It outlives us; its end is found through /proc.
        process.returncode = 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@contextlib.contextmanager
def running(cluster: KafkaCluster) -> Iterator[KafkaCluster]:
    """A cluster for the time of a with block."""
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
