"""What the console shows of the models and processes around it."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from console import tables
from console.deps import Check, HealthReport, ModelInfo
from contracts.errors import FabpilotError, LogError
from contracts.topics import Stream, topic_name
from fabpilot import __version__
from fabpilot.controller import controller_topics, loop_name
from fabpilot.settings import Settings
from fabpilot.wiring import MODEL_NAME, group_name
from models.registry import CHAMPION, list_versions
from streaming.database import read_only
from streaming.log import Log
from streaming.offsets import load_offsets

__all__ = ["Cached", "health_of", "registered_models"]

_COMPONENTS = ("onnxruntime-gpu", "onnxruntime", "mlflow-skinny", "fastapi", "kafka-python")
# What the Models page shows of a version; its MLflow run has the rest.
_FIGURES = ("macro_f1", "accuracy", "exact_match", "ece")
_LOW_DISK_BYTES = 2 * 1024**3
# A few lots behind is a pause; more is a process that is down or too slow. A wafer is one record
# for the processor and about thirty for the controller.
_PROCESSOR_LAG, _CONTROLLER_LAG = 200, 6_000

T = TypeVar("T")


class Cached(Generic[T]):
    """A value that is worked out anew once it is older than `seconds`.

    Only the first who asks waits for it. Later ones get the value as it is while a thread works out
    the next: a registry that takes its time must not hold up every page.

    Args:
        work: gives the value; while it raises, the last value stays.
        empty: what there is before the first success.
        seconds: how old it may be before it is worked out anew.
    """

    def __init__(self, work: Callable[[], T], empty: T, seconds: float = 3.0) -> None:
        self._work = work
        self._value = empty
        self._seconds = seconds
        self._until: float | None = None
        self._working = threading.Lock()

    def __call__(self) -> T:
        """The value; older than `seconds` only while the next is worked out."""
        due = self._until is None or time.monotonic() >= self._until
        if due and self._working.acquire(blocking=False):
            if self._until is None:
                self._renew()
            else:
                threading.Thread(target=self._renew, name="cached", daemon=True).start()
        return self._value

    def _renew(self) -> None:
        try:
            # A registry that does not answer must not take the pages down; what is shown then is
            # what was known last, and Health says that the registry is away.
            with suppress(FabpilotError, SQLAlchemyError, OSError):
                self._value = self._work()
            self._until = time.monotonic() + self._seconds
        finally:
            self._working.release()


def registered_models(settings: Settings, engine: sa.Engine) -> Sequence[ModelInfo]:
    """All versions, the champion first; the provider is what the latest prediction ran on.

    Raises:
        RegistryError: the registry does not answer.
    """
    serving, provider = _serving(engine)
    infos = []
    for found in list_versions(settings.mlflow_uri, MODEL_NAME):
        is_serving = str(found.version) == serving
        infos.append(
            ModelInfo(
                name=found.name,
                version=str(found.version),
                alias=", ".join(found.aliases),
                sha256=found.sha256,
                provider=provider if is_serving else "",
                device=_device(provider) if is_serving else "",
                metrics={k: found.metrics[k] for k in _FIGURES if k in found.metrics},
                labels=[k.removeprefix("f1_") for k in found.metrics if k.startswith("f1_")],
                created_ms=found.created_ms,
            )
        )
    return sorted(infos, key=lambda info: CHAMPION not in info.alias)


def _serving(engine: sa.Engine) -> tuple[str, str]:
    """Version and provider of the latest prediction, or empty."""
    latest = (
        sa.select(tables.predictions.c.model_version, tables.predictions.c.provider)
        .order_by(tables.predictions.c.time_ms.desc())
        .limit(1)
    )
    with read_only(engine).begin() as connection:
        row = connection.execute(latest).first()
    return (row.model_version, row.provider) if row else ("", "")


def _device(provider: str) -> str:
    return {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}.get(provider, "")


def health_of(
    settings: Settings, log: Log, engine: sa.Engine, site_names: Sequence[str]
) -> HealthReport:
    """How far the loops of each site are behind, the disk, the registry, the versions."""
    checks: list[Check] = []
    for site in site_names:
        checks.append(_checked(f"processor {site}", partial(_processor, log, site)))
        checks.append(_checked(f"controller {site}", partial(_controller, log, engine, site)))
    checks.append(_checked("registry", partial(_registry, settings)))
    checks.append(_checked("disk", partial(_disk, settings)))
    versions = {"fabpilot": __version__}
    for name in _COMPONENTS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return HealthReport(checks, versions)


def _checked(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    try:
        good, detail = look()
    except (FabpilotError, SQLAlchemyError, OSError) as error:
        return Check(name, "failed", str(error)[:300])
    return Check(name, "ok" if good else "warning", detail)


def _lag(behind: int, limit: int, command: str) -> tuple[bool, str]:
    good = behind <= limit
    return good, f"{behind} records behind" + ("" if good else f"; is '{command}' running?")


def _processor(log: Log, site: str) -> tuple[bool, str]:
    topics = [topic_name(site, Stream.WAFER_MAPS)]
    done = log.committed(group_name(site), topics)
    behind = sum(end - done.get(place, 0) for place, end in log.ends(topics).items())
    return _lag(behind, _PROCESSOR_LAG, "fabpilot process")


def _controller(log: Log, engine: sa.Engine, site: str) -> tuple[bool, str]:
    with read_only(engine).begin() as connection:
        done = load_offsets(connection, loop_name(site))
    ends = log.ends(controller_topics(site))
    behind = sum(end - done.get(place, 0) for place, end in ends.items())
    return _lag(behind, _CONTROLLER_LAG, "fabpilot control")


def _registry(settings: Settings) -> tuple[bool, str]:
    versions = list_versions(settings.mlflow_uri, MODEL_NAME)
    champion = next((v for v in versions if CHAMPION in v.aliases), None)
    if champion is None:
        raise LogError("no champion; train one: fabpilot train wafer-map --data sim:mixed")
    count = "1 version" if len(versions) == 1 else f"{len(versions)} versions"
    return True, f"{count}, champion is {champion.version}"


def _disk(settings: Settings) -> tuple[bool, str]:
    folder = settings.home if settings.home.exists() else settings.home.absolute().parent
    free = shutil.disk_usage(folder).free
    return free >= _LOW_DISK_BYTES, f"{free / 1024**3:.1f} GiB free"
