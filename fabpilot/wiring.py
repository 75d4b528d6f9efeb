"""Parts put together from settings: what several commands need."""

import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import ConfigError, LogError, LogUnavailableError, RegistryError
from contracts.model_uri import parse_model_uri
from contracts.topics import STREAM_SPECS, topic_name
from contracts.trace_model import REGISTERED_NAMES, Task, task_of_name
from fabpilot.settings import Settings
from streaming.log import Log
from streaming.open import open_log
from streaming.patience import Patience

if TYPE_CHECKING:
    from serving.repository import ModelRepository, ModelSource, Opener, S
    from serving.session import Session
    from serving.trace_scorer import LiveTraces

__all__ = [
    "MODEL_NAME",
    "group_name",
    "model_source",
    "open_repository",
    "open_site_log",
    "open_trace_repository",
    "scoring_workers",
    "share_interpreter",
    "site_topics",
    "sites",
    "task_of_model",
]

MODEL_NAME = "wafer-map"
"""The registered model that scores wafer maps."""


def site_topics(site: str) -> dict[str, int]:
    """All topics of a site and their partitions."""
    return {topic_name(site, stream): spec.partitions for stream, spec in STREAM_SPECS.items()}


def open_site_log(
    settings: Settings, site: str, stop: threading.Event | None = None, *, wait: bool = False
) -> Log:
    """The log, with the site's topics made.

    Args:
        settings: which log, and how to reach it.
        site: the fab.
        stop: set when this process is to end; then nothing waits for the log for long.
        wait: for a process that serves: a log that does not answer is waited for until `stop`.
            Otherwise that is an error.

    Raises:
        LogUnavailableError: the log does not answer.
        LogError, ConfigError: it cannot be used as it is.
    """
    log = open_log(settings.log_url, settings.kafka_access, stop=stop, retention=settings.retention)
    patience = Patience("the log", stop) if wait and stop is not None else None
    while True:
        try:
            log.create_topics(site_topics(site))
        except LogUnavailableError as error:
            if patience is None or not patience.wait(error):
                log.close()
                raise
        except LogError:
            log.close()
            raise
        else:
            if patience is not None:
                patience.over()
            return log


def sites(log: Log) -> list[str]:
    """The sites that have topics."""
    found = {name.split(".")[1] for name in log.topics() if name.startswith("fab.")}
    return sorted(found)


def group_name(site: str, task: Task | None = None) -> str:
    """The consumer group of a site's processors of wafer maps, or of one task on traces."""
    return f"processor.{site}" if task is None else f"processor.{site}.{REGISTERED_NAMES[task]}"


def task_of_model(settings: Settings, model: str | None = None) -> Task | None:
    """What a model answers about traces; None for one of wafer maps.

    A registered model is known by its name, so that the registry may be away; a file says itself.

    Raises:
        RegistryError: no model URI.
        ModelFileError: the file is no model.
    """
    named = model or settings.model
    if named.startswith("models:/"):
        name, _ = parse_model_uri(named)
        return task_of_name(name)
    from serving.trace_session import trace_task

    return trace_task(_model_file(named))


def model_source(
    settings: Settings, model: str | None = None, name: str = MODEL_NAME
) -> "ModelSource":
    """Where `model` comes from: an ONNX file or an MLflow URI.

    Args:
        settings: the registry.
        model: instead of the one in the settings.
        name: what a file's model is called.

    Raises:
        ConfigError: neither an existing file nor a model URI.
    """
    # Here, because most commands that need this file run no model: ONNX Runtime is a second to load
    # and another to take down.
    from serving.repository import FileSource

    named = model or settings.model
    if named.startswith("models:/"):
        # mlflow takes seconds to import; a file needs none of it.
        from serving.mlflow_source import MlflowSource

        return MlflowSource(settings.mlflow_uri, named, settings.home / "models")
    return FileSource(_model_file(named), name)


def _model_file(named: str) -> Path:
    path = Path(named)
    if not path.is_file():
        raise ConfigError(
            f"model {named!r} is neither a file nor of the form models:/wafer-map@champion"
        )
    return path


def scoring_workers(settings: Settings) -> int:
    """How many parts of a batch the processor scores at once."""
    return settings.threads or os.cpu_count() or 1


def share_interpreter() -> None:
    """Have threads of this process take turns often enough, and hold each other up little.

    A thread whose model has finished must get the interpreter to hand it the next batch. Python
    makes it wait for up to 5 ms while another thread computes, a tenth of what a batch takes, and
    the core is idle meanwhile. Half a millisecond costs nothing that could be measured
    (docs/performance.md).

    What is loaded by now stays, so the garbage collector need not look at it again and again: a
    full round over all modules stops every thread for a tenth of a second. Call this last.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()


def open_repository(
    settings: Settings,
    model: str | None = None,
    *,
    threads: int = 0,
    go_on: bool = False,
    patience: Patience | None = None,
) -> "ModelRepository[Session]":
    """A repository of wafer-map models with its first one loaded.

    Args:
        settings: device and registry.
        model: instead of the one in the settings.
        threads: of one run on the CPU; 0 takes all cores.
        go_on: for a process that serves: while the registry is away, or names a model that cannot
            be used, begin with the one that served last here. Otherwise that is an error.
        patience: with a registry that is a server, waits until it names a model.

    Raises:
        ModelError: the model cannot be had.
    """
    from serving.session import open_session

    source = model_source(settings, model)
    return _opened(settings, source, open_session, model, threads, go_on, patience)


def open_trace_repository(
    settings: Settings,
    task: Task,
    model: str | None = None,
    *,
    threads: int = 0,
    go_on: bool = False,
    patience: Patience | None = None,
) -> "ModelRepository[LiveTraces]":
    """The same of models of traces; those of another task are refused."""
    from serving.trace_scorer import trace_opener

    source = model_source(settings, model, REGISTERED_NAMES[task])
    return _opened(settings, source, trace_opener(task), model, threads, go_on, patience)


def _opened(
    settings: Settings,
    source: "ModelSource",
    opener: "Opener[S]",
    model: str | None,
    threads: int,
    go_on: bool,
    patience: Patience | None,
) -> "ModelRepository[S]":
    from serving.repository import LastGood, ModelRepository

    named = model or settings.model
    last_good = None
    if go_on and named.startswith("models:/"):
        file_name = named.removeprefix("models:/").replace("/", "@") + ".json"
        last_good = LastGood(settings.home / "models" / file_name)
    repository = ModelRepository(
        source, settings.device, opener, threads=threads, last_good=last_good
    )
    waits = patience if settings.mlflow_uri.startswith("http") else None
    while True:
        try:
            repository.refresh()
        except RegistryError as error:
            if waits is None or not waits.wait(error):
                raise
        else:
            if waits is not None:
                waits.over()
            return repository
