"""What a local Kafka is made with: its jars, fetched by Maven once, free ports, Java's tools."""

import fcntl
import hashlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".kafka"


class KafkaLocalError(Exception):
    """The cluster cannot be started; the message says what to do."""


def missing_tools() -> str:
    """What this machine lacks for a local Kafka, '' if nothing."""
    if not shutil.which("java"):
        return "Java 17 is not installed (Debian: apt-get install openjdk-17-jre-headless)"
    if not _fetched() and not shutil.which("mvn"):
        return "Maven is not installed (Debian: apt-get install maven)"
    return ""


def _pom_digest() -> str:
    return hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()


def _fetched() -> bool:
    stamp = HOME / "jars" / ".pom"
    return stamp.exists() and stamp.read_text() == _pom_digest()


def fetch_jars() -> Path:
    """The folder with Kafka and its dependencies; Maven fills it when pom.xml has changed."""
    if problem := missing_tools():
        raise KafkaLocalError(problem)
    jars = HOME / "jars"
    HOME.mkdir(exist_ok=True)
    with (HOME / "jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _fetched():
            return jars
        print("fetching Apache Kafka with Maven (once, about 45 MB)", file=sys.stderr, flush=True)
        shutil.rmtree(jars, ignore_errors=True)
        command = ["mvn", "-B", "-q", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
            raise KafkaLocalError(f"Maven could not fetch Apache Kafka:\n{tail}")
        (jars / ".pom").write_text(_pom_digest())
    return jars


def free_ports(count: int) -> list[int]:
    """So many TCP ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def run(command: Sequence[str]) -> None:
    """Run a tool to its end.

    Raises:
        KafkaLocalError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise KafkaLocalError(f"{Path(command[0]).name} failed:\n{tail}")
