"""Traces on the log, judged by registered models: each gets an answer or a reason, none a crash."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from contracts.arrays import Array
from contracts.errors import DataError, ModelFileError
from contracts.events import Trace, TraceJudgement, VirtualMetrology
from contracts.trace_threads import find_thread
from models.auc import area_under_curve
from models.traces.data import TraceSet
from models.traces.tasks import task_named
from serving.device import Device
from serving.repository import FileSource, ModelRepository
from serving.session import open_session
from serving.trace_scorer import LiveTraces, TraceScorer, trace_opener
from tests.factories import wafer_map
from tests.live_traces import PARAMETER, changed, events_of, learnable, traces, write_model
from tests.model_files import write_model as write_map_model
from tests.trace_sets import polishing


def repository_of(path: Path, task="metrology") -> ModelRepository[LiveTraces]:
    repository = ModelRepository(
        FileSource(path, f"trace-{task}"), Device.CPU, trace_opener(task), threads=1
    )
    repository.refresh()
    return repository


@pytest.fixture(scope="module")
def metrology(tmp_path_factory) -> TraceScorer:
    path = write_model(tmp_path_factory.mktemp("model") / "m.onnx")
    return TraceScorer(repository_of(path))


def told(scorer: TraceScorer, trace: Trace) -> VirtualMetrology:
    (answer,) = scorer([trace])
    assert isinstance(answer, list), answer
    (event,) = answer
    assert isinstance(event, VirtualMetrology)
    return event


def test_virtual_metrology_of_traces_holds(metrology: TraceScorer) -> None:
    runs = polishing(60, seed=9, threads=2)
    events = events_of(runs)
    answers = metrology(events)
    said = [event for answer in answers for event in answer]
    assert [event.substrate_id for event in said] == [event.substrate_id for event in events]
    errors = np.array([event.predicted for event in said]) - runs.target
    # Noise is 0.3; without pressure 4.
    assert np.sqrt(np.mean(errors**2)) < 1.0
    inside = [e.low <= target <= e.high for e, target in zip(said, runs.target, strict=True)]
    assert np.mean(inside) > 0.75
    assert sum(event.unlike for event in said) <= 6
    assert {event.parameter for event in said} == {PARAMETER}
    assert {event.learned for event in said} == {40}


def test_an_answer_names_its_trace_and_its_model(metrology: TraceScorer) -> None:
    trace = traces(1)[0]
    event = told(metrology, trace)
    assert (event.input_id, event.time_ms, event.key) == (trace.event_id, trace.time_ms, trace.key)
    assert event.model_name == "trace-metrology"
    assert event.model_version.startswith("file-")
    assert len(event.model_sha256) == 64
    assert event.provider == "CPUExecutionProvider"
    # The same again has the same name; another wafer's has another.
    assert told(metrology, trace) == event
    assert told(metrology, changed(trace, event_id="other")).event_id != event.event_id


def test_batches_do_not_change_what_is_said(metrology: TraceScorer) -> None:
    events = traces(70)
    together = [answer[0] for answer in metrology(events)]
    for place in (0, 33, 69):
        alone = told(metrology, events[place])
        assert alone.predicted == pytest.approx(together[place].predicted, rel=1e-4)
        assert alone.event_id == together[place].event_id


def test_what_the_model_was_not_learned_on_gives_nothing(metrology: TraceScorer) -> None:
    trace = traces(1)[0]
    events = [wafer_map(0), changed(trace, recipe_id="OTHER"), changed(trace, step="CMP-M2"), trace]
    answers = metrology(events)
    assert answers[:3] == [[], [], []]
    assert len(answers[3]) == 1


def values_of(trace: Trace) -> np.ndarray:
    return trace.values.numpy().copy()


def test_a_module_that_was_not_learned_is_answered_with_doubt(metrology: TraceScorer) -> None:
    assert told(metrology, changed(traces(1)[0], equipment_id="CMP-09")).unlike


def test_a_missing_sensor_is_answered_with_doubt(metrology: TraceScorer) -> None:
    trace = traces(1)[0]
    without = changed(
        trace, variables=trace.variables[1:], values=Array.of(values_of(trace)[:, 1:])
    )
    assert told(metrology, without).unlike


def test_sensors_in_another_order_and_more_of_them_are_the_same(metrology: TraceScorer) -> None:
    trace = traces(1)[0]
    values = values_of(trace)[:, [2, 0, 1]]
    turned = changed(
        trace,
        variables=("flow_ml_min", "pad_wafers", "pressure_kpa", "new_pa"),
        values=Array.of(np.concatenate([values, values[:, :1]], axis=1)),
    )
    assert told(metrology, turned).predicted == told(metrology, trace).predicted


@pytest.mark.parametrize("trouble", ["nan", "three", "one", "inf", "absurd"])
def test_a_trace_that_says_little_is_answered_with_doubt(
    metrology: TraceScorer, trouble: str
) -> None:
    trace = traces(1)[0]
    values = values_of(trace)
    if trouble == "nan":
        values[:] = np.nan
    elif trouble == "inf":
        values[:, 1] = np.inf
    elif trouble == "absurd":
        values[:, 1:] = 3e38
    else:
        values = values[: {"three": 3, "one": 1}[trouble]]
    event = told(metrology, changed(trace, values=Array.of(values)))
    assert event.unlike
    assert np.isfinite([event.predicted, event.low, event.high]).all()


def lying(trace: Trace) -> Trace:
    return changed(trace, values=Array("<f4", (60, 3), b"12"))


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda t: changed(t, variables=("a", "b")), "must be"),
        (lambda t: changed(t, variables=("a", "b", "c")), "none of the variables"),
        (lambda t: changed(t, values=Array.of(np.zeros((0, 3), np.float32))), "no sample"),
        (lambda t: changed(t, values=Array.of(np.zeros(3, np.float32))), "must be"),
        (lambda t: changed(t, values=Array.of(np.zeros((60, 3), np.uint8))), "must be"),
        (lambda t: changed(t, sample_period_ms=float("nan")), "sample period"),
        (lambda t: changed(t, times_ms=Array.of(np.zeros(4, np.float32))), "not 60 numbers"),
        (lambda t: changed(t, times_ms=Array.of(-np.arange(60, dtype=np.float32))), "fall"),
        (lying, "needs 720 bytes"),
    ],
)
def test_what_is_no_trace_is_refused_with_a_reason(metrology, spoilt, said) -> None:
    events = [traces(2)[0], spoilt(traces(1)[0]), traces(2)[1]]
    answers = metrology(events)
    assert isinstance(answers[1], DataError)
    assert said in str(answers[1])
    assert [len(answers[place]) for place in (0, 2)] == [1, 1]


def judged(scorer: TraceScorer, trace: Trace) -> TraceJudgement:
    (answer,) = scorer([trace])
    assert isinstance(answer, list), answer
    (event,) = answer
    assert isinstance(event, TraceJudgement)
    return event


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> TraceScorer:
    path = write_model(tmp_path_factory.mktemp("model") / "m.onnx", "fault")
    return TraceScorer(repository_of(path, "fault"))


@pytest.fixture(scope="module")
def risk(tmp_path_factory) -> TraceScorer:
    path = write_model(tmp_path_factory.mktemp("model") / "m.onnx", "risk")
    return TraceScorer(repository_of(path, "risk"))


def scores_of(scorer: TraceScorer, events: list[Trace]) -> np.ndarray:
    return np.array([judged(scorer, trace).score for trace in events], dtype=float)


def leaking(trace: Trace) -> Trace:
    """The same wafer with the flow 5 % lower."""
    values = values_of(trace)
    values[20:, 2] -= 10.0
    return changed(trace, event_id=f"{trace.event_id}-leak", values=Array.of(values))


def test_a_fault_stands_out_and_its_variable_is_named(faults: TraceScorer) -> None:
    normal, odd = traces(40), [leaking(trace) for trace in traces(10)]
    assert np.mean(scores_of(faults, normal) > 1.0) <= 0.05
    assert np.all(scores_of(faults, odd) > 1.0)
    for trace in odd:
        said = judged(faults, trace).contributions
        assert said[0].variable == "flow_ml_min"
        assert [one.value for one in said] == sorted((one.value for one in said), reverse=True)


def test_risk_follows_what_makes_wafers_fail(risk: TraceScorer) -> None:
    runs = polishing(120, seed=9, threads=2)
    scores, failed = scores_of(risk, events_of(runs)), runs.target > 53.0
    assert np.all((scores >= 0.0) & (scores <= 1.0))
    assert area_under_curve(scores, failed).value > 0.9
    worst = judged(risk, events_of(runs)[int(np.argmax(scores))])
    assert worst.contributions[0].variable == "pressure_kpa"


@pytest.mark.parametrize("task", ["fault", "risk"])
def test_a_judgement_names_its_trace_and_its_model(task, request) -> None:
    scorer = request.getfixturevalue({"fault": "faults", "risk": "risk"}[task])
    trace = traces(1)[0]
    event = judged(scorer, trace)
    assert (event.input_id, event.task, event.key) == (trace.event_id, task, trace.key)
    assert event.model_name == f"trace-{task}"
    assert event.reason == ""
    assert judged(scorer, trace) == event
    assert scorer([changed(trace, recipe_id="OTHER"), wafer_map(0)]) == [[], []]
    strange = judged(scorer, changed(trace, module_id="9"))
    assert strange.score is None
    assert "CMP-01/9 was not among the modules" in strange.reason


_SILENT = {("fault", "nan"), ("fault", "three"), ("risk", "nan"), ("risk", "missing")}


@pytest.mark.parametrize("trouble", ["nan", "three", "missing", "absurd"])
@pytest.mark.parametrize("task", ["fault", "risk"])
def test_a_trace_that_says_little_is_judged_with_what_it_says_or_not_at_all(
    task, trouble, request
) -> None:
    scorer = request.getfixturevalue({"fault": "faults", "risk": "risk"}[task])
    trace = traces(1)[0]
    values, variables = values_of(trace), trace.variables
    if trouble == "nan":
        values[:] = np.nan
    elif trouble == "three":
        values = values[:3]
    elif trouble == "missing":
        values, variables = values[:, :1], variables[:1]
    else:
        values[:] = 3e38
    event = judged(scorer, changed(trace, values=Array.of(values), variables=variables))
    silent = (event.task, trouble) in _SILENT
    assert (event.score is None, bool(event.reason)) == (silent, silent)
    assert silent or np.isfinite(event.score)
    # One of the three sensors is enough to look at, as long as it is said.
    if (task, trouble) == ("fault", "missing"):
        assert "missing: pressure_kpa" in event.troubles


def test_a_sensor_that_is_stuck_is_named_and_nothing_else_is_blamed(faults: TraceScorer) -> None:
    trace = traces(1)[0]
    values = values_of(trace)
    values[:, 2] = 150.0
    event = judged(faults, changed(trace, values=Array.of(values)))
    assert "stuck: flow_ml_min" in event.troubles
    assert event.score is not None


def test_what_is_no_trace_is_refused_by_every_judge(faults, risk) -> None:
    for scorer in (faults, risk):
        first, second = traces(2)
        answers = scorer([first, lying(second)])
        assert len(answers[0]) == 1
        assert isinstance(answers[1], DataError)


def without_parameter() -> TraceSet:
    runs = learnable(polishing(50, threads=2))
    return replace(runs, context={"thread": runs.context["thread"]})


@pytest.mark.parametrize(
    ("task", "runs", "said"),
    [
        ("metrology", without_parameter, "context_parameter"),
    ],
)
def test_a_model_that_no_trace_on_the_log_can_feed_does_not_serve(
    tmp_path: Path, task, runs, said
) -> None:
    trained = task_named(task).train(
        runs(), seed=0, code_version="test", on_progress=lambda share: None
    )
    (tmp_path / "m.onnx").write_bytes(trained.content)
    with pytest.raises(ModelFileError, match=said):
        repository_of(tmp_path / "m.onnx", task)


@pytest.fixture(scope="module")
def by_step(tmp_path_factory) -> dict[str, TraceScorer]:
    """Models that were learned with recipe steps, and one that was not."""
    folder = tmp_path_factory.mktemp("models")
    return {
        task: TraceScorer(
            repository_of(write_model(folder / f"{task}.onnx", task, by_step=True), task)
        )
        for task in ("fault", "metrology")
    }


def stepped(number: int, seed: int = 9) -> list[Trace]:
    return events_of(polishing(number, seed=seed, threads=2), by_step=True)


def test_a_model_by_recipe_step_says_what_training_says(by_step, faults) -> None:
    runs = polishing(60, seed=9, threads=2)
    errors = np.array([told(by_step["metrology"], t).predicted for t in stepped(60)]) - runs.target
    assert np.sqrt(np.mean(errors**2)) < 1.0
    scores = scores_of(by_step["fault"], stepped(40))
    assert np.mean(scores > 1.0) <= 0.05
    # What is shown while polishing only is seen there, and the step of a stuck sensor is named.
    odd = leaking(stepped(1)[0])
    assert judged(by_step["fault"], odd).contributions[0].variable == "flow_ml_min"
    values = values_of(odd)
    values[20:, 2] = 150.0
    stuck = changed(odd, values=Array.of(values))
    assert "stuck: flow_ml_min in step 2" in judged(by_step["fault"], stuck).troubles
    # A model that was learned without them does not look at them.
    plain = changed(stepped(1)[0], recipe_steps=None)
    assert judged(faults, stepped(1)[0]) == judged(faults, plain)


def test_a_trace_without_recipe_steps_is_answered_with_doubt_or_the_reason(by_step) -> None:
    trace = changed(stepped(1)[0], recipe_steps=None)
    assert told(by_step["metrology"], trace).unlike
    event = judged(by_step["fault"], trace)
    assert event.score is None
    assert "recipe step" in event.reason


@pytest.mark.parametrize(
    "steps", [np.ones(59, np.uint8), np.ones((60, 1), np.uint8), np.ones(60, np.float32)]
)
def test_recipe_steps_that_are_not_one_a_sample_are_refused(by_step, steps) -> None:
    for scorer in by_step.values():
        (answer,) = scorer([changed(stepped(1)[0], recipe_steps=Array.of(steps))])
        assert isinstance(answer, DataError)
        assert "recipe steps must be 60" in str(answer)


@pytest.mark.parametrize(("task", "other"), [("fault", "metrology"), ("metrology", "risk")])
def test_a_model_of_another_task_never_serves(tmp_path: Path, task, other) -> None:
    path = write_model(tmp_path / "m.onnx", task)
    repository = repository_of(path, task)
    write_model(path, other)
    assert not repository.refresh()
    assert f"is a model of {other}, this processor serves {task}" in repository.status.error


def test_a_model_of_another_parameter_never_takes_over(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    repository = repository_of(path)
    runs = learnable(polishing(50, threads=2))
    runs.context["parameter"][:] = "other_nm"
    trained = task_named("metrology").train(
        runs, seed=0, code_version="test", on_progress=lambda share: None
    )
    path.write_bytes(trained.content)
    assert not repository.refresh()
    assert "metrology of removed_nm" in repository.status.error


def test_a_file_that_was_changed_after_it_was_registered_never_serves(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="changed or cut off"):
        trace_opener("metrology")(path, Device.CPU, sha256="0" * 64)
    path.write_bytes(with_other_weights(path.read_bytes()))
    with pytest.raises(ModelFileError, match="golden"):
        trace_opener("metrology")(path, Device.CPU)


def with_other_weights(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor) * 1.5
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return bytes(model.SerializeToString())


def test_a_model_that_names_no_thread_is_about_every_trace_with_its_variables() -> None:
    trace = traces(1)[0]
    assert find_thread(trace, ("all",), ("pressure_kpa", "x")) == (0, True)
    assert find_thread(trace, ("all",), ("x",)) is None
    assert find_thread(trace, ("POLISH | CMP-M1",), ("x",)) == (0, True)
    assert find_thread(trace, ("A", "POLISH | CMP-M1 | X/Y"), ("x",)) == (1, False)
    assert find_thread(trace, ("POLISH | CMP-M10 | X/Y",), ("x",)) is None


def test_a_new_version_is_swapped_in_and_others_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    repository = repository_of(path)
    scorer = TraceScorer(repository)
    trace = traces(1)[0]
    first = told(scorer, trace)
    good = path.read_bytes()
    for content, reason in (
        (good[: len(good) // 2], "cut off"),
        (write_map_model(tmp_path / "map.onnx").read_bytes(), "not a trace model"),
    ):
        path.write_bytes(content)
        assert not repository.refresh()
        assert reason in repository.status.error
        assert told(scorer, trace) == first
    write_model(path, seed=3)
    assert repository.refresh()
    second = told(scorer, trace)
    assert second.model_sha256 != first.model_sha256
    assert second.event_id != first.event_id
    with pytest.raises(ModelFileError, match="not one of fabpilot's"):
        open_session(path, Device.CPU)
