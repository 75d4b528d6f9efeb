"""MLflow among the services of a soak: killed, away for a while, back, and then promoted in.

While it is away a processor is killed too, so that one has to begin with what served last. Once it
is back the champion changes at once, and it is measured when each processor serves the new one.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import onnx

from bench.soak_services import Command, Supervisor
from bench.stream_watch import Follower, wait_until
from contracts.codec import decode
from contracts.errors import DataError, RegistryError
from contracts.events import Prediction
from contracts.records import Record
from models.registry import (
    CHAMPION,
    RunRecord,
    find_version,
    log_and_register,
    promote,
    rollback,
)
from tests.command_line import Home
from tests.postgres_server import free_port

__all__ = ["FOLLOWED_S", "Answers", "ModelServer", "Outage", "Registry", "register_two"]

MODEL = "wafer-map"
FOLLOWED_S = 10.0
"""How soon a processor must serve a promoted model."""

# It asks every 5 s; on a busy machine it may be late, which is to be seen and not waited out.
_GIVE_UP_S = 60.0
# Without a processor to be killed meanwhile, the registry stays away for so many hours of the fab.
_AWAY_H = 2.0
_ASK_S = 0.2
_VERSION = re.compile(rf'^fabpilot_model_info{{.*name="{MODEL}".*version="(\d+)"', re.MULTILINE)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as answer:
        return str(answer.read(), "utf-8")


class ModelServer:
    """A real MLflow server on PostgreSQL, as in Compose, but without accounts.

    Args:
        folder: of its artifacts and what it says.
        database: SQLAlchemy's URL of a database of its own.
    """

    name = "mlflow"
    finished = False

    def __init__(self, folder: Path, database: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.artifacts = folder / "artifacts"
        self._folder = folder
        self._command = [
            *(sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"),
            *("--workers=1", f"--artifacts-destination={self.artifacts}"),
        ]
        home = Home(
            folder,
            MLFLOW_BACKEND_STORE_URI=database,
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            HOME=str(folder),
        )
        self._environment = home.environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its first process, 0 if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    @property
    def answers(self) -> bool:
        """Whether it can be asked now."""
        with suppress(OSError):
            return bool(_read(f"{self.url}/health"))
        return False

    def kill(self) -> None:
        """SIGKILL to it and its worker: of a container none survives the first process."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def start(self) -> None:
        """Start it (again); who needs it waits by itself."""
        self.kill()
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "mlflow.log").open("ab") as said:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it answers."""
        wait_until(lambda: self.answers, "MLflow")


def register_two(url: str, model: Path, folder: Path) -> None:
    """Register a model as champion, and one that says the same in another file as challenger.

    So what the hours without kills found, with the first alone, is what these are held against.
    """
    other = onnx.load(model)
    note = other.metadata_props.add()
    note.key, note.value = "soak", "second"
    again = folder / "again.onnx"
    onnx.save(other, str(again))
    for file in (model, again):
        log_and_register(url, "soak", MODEL, file, RunRecord(params={}))


class Answers:
    """Predictions as they come onto the log: when each was seen, and which version said it."""

    def __init__(self, url: str, topic: str) -> None:
        self.seen: list[tuple[float, str]] = []
        self._follower = Follower(url, topic, self._take)

    @property
    def count(self) -> int:
        """Seen so far."""
        return len(self.seen)

    def versions(self, since: float, until: float) -> Counter[str]:
        """How many of each version were seen between two moments."""
        return Counter(version for at, version in self.seen if since < at < until)

    def close(self) -> None:
        """Stop watching."""
        self._follower.close()

    def _take(self, records: list[Record]) -> None:
        now = time.monotonic()
        for record in records:
            version = ""
            with suppress(DataError):
                event = decode(record.headers, record.value)
                version = event.model_version if isinstance(event, Prediction) else ""
            self.seen.append((now, version))


class Outage(msgspec.Struct):
    """One time without the registry, and what came after it.

    Attributes:
        killed_h: the fab's hour when it was killed.
        champion: the version that served then.
        away_s: until it answered again.
        predictions: seen while it was away, by version.
        began_without: processor that was killed and began anew while it was away, and the version
            it served then; '' if none.
        promoted: the champion from its return on.
        followed_s: per processor, from that promotion until it served it; None if it never did.
    """

    killed_h: float
    champion: str
    away_s: float = 0.0
    predictions: dict[str, int] = {}
    began_without: tuple[str, str] = ("", "")
    promoted: str = ""
    followed_s: dict[str, float | None] = {}

    @property
    def good(self) -> bool:
        """Whether work went on with the last good model, and the next one was followed."""
        without = self.began_without[1]
        return (
            set(self.predictions) <= {self.champion}
            and without in ("", self.champion)
            and all(took is not None and took <= FOLLOWED_S for took in self.followed_s.values())
            and bool(self.followed_s)
        )


class Registry:
    """What happens to MLflow and to the processors that follow it.

    Args:
        server: at work, with the two versions registered.
        supervisor: of all services.
        ports: of each processor's metrics.
        answers: the predictions on the log.
    """

    def __init__(
        self,
        server: ModelServer,
        supervisor: Supervisor,
        ports: Mapping[str, int],
        answers: Answers,
    ) -> None:
        self._server = server
        self._supervisor = supervisor
        self._ports = ports
        self._answers = answers
        self.outages: list[Outage] = []
        self._state = "well"
        self._killed_at = self._promoted_at = self._ask_at = 0.0
        self._waits_for = ""
        self._champion = "1"

    @property
    def busy(self) -> bool:
        """Whether something is being measured that another kill would spoil."""
        return self._state == "following" or bool(self._waits_for)

    @property
    def settled(self) -> bool:
        """Whether it is well and followed."""
        return self._state == "well"

    def killed(self, name: str, hour: float) -> None:
        """Somebody was killed."""
        if name == self._server.name:
            self.outages.append(Outage(round(hour, 2), self._champion))
            self._killed_at = time.monotonic()
            self._supervisor.hold(name)
            self._state = "away"
        elif self._state == "away" and name in self._ports:
            self._waits_for = name

    def look(self, hour: float, *, last: bool) -> None:
        """Go on: let it come back, promote, see who follows. `last`: nobody is killed any more."""
        if self._state == "well" or time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + _ASK_S
        outage = self.outages[-1]
        if self._state == "away":
            if self._waits_for:
                if not (version := self._serves(self._waits_for)):
                    return
                outage.began_without, self._waits_for = (self._waits_for, version), ""
            elif hour < outage.killed_h + _AWAY_H and not last:
                return
            self._supervisor.release(self._server.name)
            self._state = "coming"
        elif self._state == "coming" and self._server.answers:
            outage.away_s = round(time.monotonic() - self._killed_at, 1)
            # What is seen in the first second may have been scored before.
            seen = self._answers.versions(self._killed_at + 1.0, time.monotonic())
            outage.predictions = dict(seen)
            # PostgreSQL behind it may be away just now; then it is tried again.
            with suppress(RegistryError):
                outage.promoted = self._champion = self._promote()
                self._promoted_at = time.monotonic()
                outage.followed_s = dict.fromkeys(self._ports)
                self._state = "following"
        elif self._state == "following":
            took = time.monotonic() - self._promoted_at
            for name, before in outage.followed_s.items():
                if before is None and self._serves(name) == self._champion:
                    outage.followed_s[name] = round(time.monotonic() - self._promoted_at, 1)
            if None not in outage.followed_s.values() or took > _GIVE_UP_S:
                self._state = "well"

    def _promote(self) -> str:
        """Make the other version champion; which one that is.

        The first time it is a promotion, later a step back to the one before.
        """
        now = find_version(self._server.url, MODEL, CHAMPION)
        assert now is not None
        if str(now.version) != self._champion:
            # An earlier try was answered too late.
            return str(now.version)
        if len(self.outages) == 1:
            made = promote(self._server.url, MODEL, challenger=2, champion=1)
        else:
            made = rollback(self._server.url, MODEL, why="soak")
        return str(made.version)

    def _serves(self, name: str) -> str:
        """The version a processor serves, '' if it does not answer."""
        process = self._supervisor.services[name]
        if isinstance(process, Command) and process.pid:
            with suppress(OSError):
                found = _VERSION.search(_read(f"http://127.0.0.1:{self._ports[name]}/metrics"))
                return found[1] if found else ""
        return ""
