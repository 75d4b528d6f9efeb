"""Processors in processes of their own, to be killed and started again, and a log for them."""

import random
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.stream_watch import wait_until
from tests.command_line import Home
from tests.kafka_server import KafkaCluster
from tests.model_files import write_model

__all__ = ["Fleet", "home_on", "model_option", "some_log"]


@contextmanager
def some_log(kind: str, folder: Path, nodes: int = 1) -> Iterator[tuple[str, str]]:
    """URL and site of a log: embedded, a Kafka of its own, or one that is there.

    Args:
        kind: 'embedded', 'kafka', or 'kafka://HOST:PORT'.
        folder: where what is made lives.
        nodes: of a Kafka of its own.
    """
    if kind == "embedded":
        yield f"embedded:{folder / 'log.db'}", "kr1"
    elif kind == "kafka":
        cluster = KafkaCluster(folder / "kafka", nodes=nodes)
        cluster.start()
        try:
            yield f"kafka://{cluster.brokers}", "kr1"
        finally:
            cluster.stop()
    else:
        yield kind, f"kill-{uuid.uuid4().hex[:8]}"


def home_on(url: str, site: str, folder: Path) -> Home:
    """A home for commands on that log."""
    return Home(folder, FABPILOT_SITE=site, FABPILOT_LOG=url)


def model_option(named: str, folder: Path) -> list[str]:
    """`--model` with the file that was named, or a small one made here."""
    path = Path(named) if named else write_model(folder / "linear.onnx")
    return ["--model", str(path.absolute())]


class Fleet:
    """So many processors of one site on one machine.

    Args:
        home: where they live.
        arguments: of `fabpilot`.
        size: how many.
    """

    def __init__(self, home: Home, arguments: Sequence[str], size: int) -> None:
        self._home = home
        self._arguments = list(arguments)
        self._size = size
        self._members: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self._ready: dict[int, Path] = {}
        self.said = home.folder / "fleet.log"
        home.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.said.open("ab")
        self.ended_badly = 0

    def at_work(self) -> None:
        """Start whoever is missing."""
        for one in list(self._members):
            if one.poll() is not None:
                # Nobody told it to end.
                self.ended_badly += 1
                self._members.remove(one)
        while len(self._members) < self._size:
            self._started += 1
            ready = self._home.folder / f"ready-{self._started}"
            one = subprocess.Popen(
                [sys.executable, "-m", "fabpilot", *self._arguments, "--ready", str(ready)],
                env=self._home.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._file,
            )
            self._members.append(one)
            self._ready[one.pid] = ready

    def kill_one(self, rng: random.Random) -> None:
        """SIGKILL one of them."""
        one = rng.choice(self._members)
        self._members.remove(one)
        one.kill()
        one.wait()

    def rest(self) -> list[int]:
        """Tell all to end; their exit codes."""
        for one in self._members:
            # One that is only just starting does not listen yet.
            ready = self._ready[one.pid]
            wait_until(lambda at=ready, it=one: at.exists() or it.poll() is not None, "a start")
            one.terminate()
        codes = [one.wait(120) for one in self._members]
        self._members = []
        return codes

    def close(self) -> None:
        """Leave nobody behind."""
        for one in self._members:
            one.kill()
            one.wait()
        self._file.close()
