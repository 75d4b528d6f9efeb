"""Traces on the log are judged by registered models, each once, whatever else happens."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from contracts.codec import encode
from contracts.errors import DataError
from contracts.events import DeadLetter, Event, Metrology, Trace, VirtualMetrology
from contracts.records import Message
from contracts.topics import Stream, topic_name
from contracts.trace_model import REGISTERED_NAMES, Task
from fabpilot.promotion import find_contest, roll_back, settle
from fabpilot.settings import Settings
from fabpilot.trace_export import Wanted, export_traces
from fabpilot.trace_gate import judge_trace_contest
from fabpilot.trace_training import train_and_register_traces
from fabpilot.wiring import open_site_log, open_trace_repository
from models.gate import GateDecision
from models.registry import RunRecord, find_version, log_and_register, set_alias
from models.traces.layouts import load_traces
from models.traces.tasks import task_named
from serving.trace_scorer import TraceScorer
from streaming.log import Log
from streaming.processor import Processor
from tests.command_line import Home, error_of
from tests.live_traces import PARAMETER, changed, events_of, learnable, traces, write_model
from tests.stream_helpers import decoded
from tests.trace_sets import polishing

CHARTS, DEAD = (topic_name("kr1", stream) for stream in (Stream.CHARTS, Stream.DEAD_LETTERS))


def register(settings: Settings, task: Task, seed: int, alias: str) -> int:
    path = write_model(settings.home / "m.onnx", task, seed)
    name = REGISTERED_NAMES[task]
    version = log_and_register(settings.mlflow_uri, name, name, path, RunRecord(params={}))
    client = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    client.set_registered_model_alias(name, alias, str(version.version))
    return version.version


def broken(trace: Trace) -> Message:
    """A record that no decoder accepts."""
    good = encode(trace)
    return Message(good.topic, good.key, b"\xc1junk", good.headers)


def said(log: Log) -> list[VirtualMetrology]:
    return [event for event in decoded(log, CHARTS) if isinstance(event, VirtualMetrology)]


def test_a_swap_and_bad_traces_in_a_stream_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first = register(settings, "metrology", 0, "champion")
    second = register(settings, "metrology", 3, "challenger")
    log = open_site_log(settings, "kr1")
    good = traces(300)
    others = [changed(trace, event_id=f"other-{n}", step="ETCH") for n, trace in enumerate(good)]
    bad = [changed(trace, event_id=f"bad-{n}", variables=("x",)) for n, trace in enumerate(good)]
    log.append([encode(event) for event in (*good, *others[:20], *bad[:7])])
    log.append([broken(good[0])])
    repository = open_trace_repository(settings, "metrology", "models:/trace-metrology@champion")
    scorer, client = TraceScorer(repository), MlflowClient(settings.mlflow_uri)
    turns, lock = 0, threading.Lock()

    def handle(events: Sequence[Event]) -> list[list[Event] | DataError]:
        """Judges; the champion moves at the third batch, and at the sixth to one of faults."""
        nonlocal turns
        with lock:
            turns += 1
            if turns == 3:
                client.set_registered_model_alias("trace-metrology", "champion", str(second))
                assert repository.refresh()
            elif turns == 6:
                path = write_model(tmp_path / "fault.onnx", "fault")
                name = "trace-metrology"
                log_and_register(
                    settings.mlflow_uri, name, name, path, RunRecord(params={}), alias="champion"
                )
                assert not repository.refresh()
                assert "is a model of fault" in repository.status.error
        return scorer(events)

    topics = [topic_name("kr1", Stream.TRACES)]
    done = Processor(log, group="g", topics=lambda: topics, handle=handle, batch=30, workers=2).run(
        threading.Event(), until_idle=True
    )
    told, dead = said(log), [e for e in decoded(log, DEAD) if isinstance(e, DeadLetter)]
    repository.close()
    log.close()
    assert turns > 6
    assert (done.consumed, done.produced, done.dead_letters) == (328, 300, 8)
    assert sorted(event.input_id for event in told) == sorted(trace.event_id for trace in good)
    assert {event.model_version for event in told} == {str(first), str(second)}
    assert len({(event.model_version, event.model_sha256) for event in told}) == 2
    assert sum("must be (samples, 1 variables)" in letter.reason for letter in dead) == 7


def measured(trace: Trace, value: float) -> Metrology:
    """What is measured an hour later, at two sites."""
    return Metrology(
        event_id=f"measured-{trace.substrate_id}",
        site=trace.site,
        time_ms=trace.time_ms + 3_600_000,
        lot_id=trace.lot_id,
        substrate_id=trace.substrate_id,
        slot=trace.slot,
        equipment_id="MET-01",
        step=trace.step,
        parameter=PARAMETER,
        x_mm=(0.0, 10.0),
        y_mm=(0.0, 0.0),
        values=(value - 0.25, value + 0.25),
    )


@pytest.fixture(scope="module")
def fab(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A log with 60 runs of two modules, all but the last ten measured."""
    home = Home(tmp_path_factory.mktemp("fab"), FABPILOT_DEVICE="cpu")
    log = open_site_log(Settings(home=home.folder), "kr1")
    runs = polishing(60, seed=5, threads=2)
    events = events_of(runs, by_step=True)
    log.append([encode(event) for event in events])
    pairs = zip(events[:50], runs.target, strict=False)
    log.append([encode(measured(trace, float(value))) for trace, value in pairs])
    log.close()
    return home


@pytest.fixture(scope="module")
def exported(fab: Home) -> Path:
    """The log's runs as a set."""
    out = fab.folder / "removed.parquet"
    wanted = ("export", "traces", "--step", "CMP-M1", "--parameter", PARAMETER, "--out", str(out))
    said = fab.json(*wanted)
    counts = ("runs", "measured", "threads", "variables", "samples", "left_out")
    assert tuple(said[name] for name in counts) == (60, 50, 2, 3, 3600, 0)
    steps = load_traces(out).runs[0].step
    assert steps is not None
    assert steps.tolist() == [1] * 20 + [2] * 40
    return out


def test_an_export_that_is_interrupted_leaves_the_set_of_before(fab: Home, exported: Path) -> None:
    before = exported.read_bytes()
    begun = []

    def stop(read: int) -> None:
        begun.append(exported.with_name(f"{exported.name}.part").exists())
        if begun[-1] and read > 115:
            raise KeyboardInterrupt

    log = open_site_log(Settings(home=fab.folder), "kr1")
    wanted = Wanted(step="CMP-M1", parameter=PARAMETER)
    with pytest.raises(KeyboardInterrupt):
        export_traces(log, "kr1", wanted, exported, stop)
    log.close()
    assert begun[-1]
    assert exported.read_bytes() == before
    assert list(exported.parent.glob("*.part")) == []


def test_what_the_fab_wrote_is_exported_learned_registered_and_served(
    fab: Home, exported: Path
) -> None:
    trained = train_and_register_traces(
        load_traces(exported),
        "metrology",
        command="test",
        mlflow_uri=Settings(home=fab.folder).mlflow_uri,
        alias=None,
        out=None,
        seed=0,
        on_progress=lambda share: None,
    )
    assert (trained.model, trained.runs) == ("models:/trace-metrology/1", 60)
    done = fab.json("process", "--until-idle", "--model", "models:/trace-metrology@champion")
    assert (done["consumed"], done["produced"], done["dead_letters"]) == (60, 60, 0)
    assert done["model_sha256"] == trained.sha256
    told = [record["data"] for record in fab.tail("charts")]
    runs = polishing(60, seed=5, threads=2)
    known = {f"w-{number}": value for number, value in enumerate(runs.target)}
    late = [event for event in told if int(event["substrate_id"][2:]) >= 50]
    errors = [event["predicted"] - known[event["substrate_id"]] for event in late]
    assert len(late) == 10
    # Pressure alone is worth 4, noise 0.3.
    assert np.sqrt(np.mean(np.square(errors))) < 1.5


def contested(settings: Settings, exported: Path) -> GateDecision:
    contest = find_contest(settings, "trace-metrology")
    return judge_trace_contest(settings, "metrology", contest, exported, "all")


def test_a_trace_model_comes_to_a_gate_and_can_be_rolled_back(
    tmp_path: Path, exported: Path
) -> None:
    settings = Settings(home=tmp_path)
    good = register(settings, "metrology", 0, "champion")
    runs = learnable(polishing(60, seed=1, threads=2))
    lost = replace(runs, target=runs.target[::-1].copy())
    trained = task_named("metrology").train(
        lost, seed=0, code_version="test", on_progress=lambda share: None
    )
    path = tmp_path / "bad.onnx"
    path.write_bytes(trained.content)
    name = "trace-metrology"
    bad = log_and_register(
        settings.mlflow_uri, name, name, path, RunRecord(params={}), alias="challenger"
    ).version
    refused = contested(settings, exported)
    assert "rmse" in [check.name for check in refused.checks if not check.passed]
    judged_on = load_traces(exported)
    contest = find_contest(settings, name)
    outcome = settle(settings, contest, refused, judged_on, by="kim", force="to try it")
    assert (outcome.verdict, outcome.serves) == ("forced", True)
    assert find_contest_versions(settings) == (bad, good)
    # What was forced may be taken back, and then challenges a better one in vain.
    assert roll_back(settings, name, by="kim", reason="it was bad").version == good
    set_alias(settings.mlflow_uri, name, "champion", bad)
    set_alias(settings.mlflow_uri, name, "challenger", good)
    passed = contested(settings, exported)
    assert passed.passed, passed.reason
    path.write_bytes(write_model(tmp_path / "fault.onnx", "fault").read_bytes())
    log_and_register(
        settings.mlflow_uri, name, name, path, RunRecord(params={}), alias="challenger"
    )
    other = contested(settings, exported)
    assert [check.name for check in other.checks] == ["file"]
    contest = find_contest(settings, name)
    never = settle(settings, contest, other, judged_on, by="kim", force="anyhow")
    assert (never.verdict, never.serves) == ("refused", False)


def find_contest_versions(settings: Settings) -> tuple[int, int]:
    """Champion and the one before."""
    found = [
        find_version(settings.mlflow_uri, "trace-metrology", alias)
        for alias in ("champion", "previous")
    ]
    assert found[0]
    assert found[1]
    return found[0].version, found[1].version


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--step", "NONE"), "no trace of step 'NONE'; it has traces of: CMP-M1"),
        (("--step", "CMP-M1", "--parameter", "cd_nm"), f"measured is: {PARAMETER}"),
        (("--step", "CMP-M1", "--yield-below", "0.9"), "has a wafer map yet"),
    ],
)
def test_what_cannot_be_exported_is_said_with_what_there_is(
    fab: Home, words: tuple[str, ...], said: str
) -> None:
    out = fab.folder / "nothing.parquet"
    done = fab.run("export", "traces", "--out", str(out), *words, code=1)
    assert said in error_of(done).replace("\n", " ")
    assert not list(fab.folder.glob("nothing*"))
