"""Whatever a trace says, a judge answers it or refuses it, and gives finite numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contracts.arrays import Array
from contracts.codec import encode
from contracts.errors import DataError
from contracts.events import Trace, TraceJudgement, VirtualMetrology
from serving.device import Device
from serving.repository import FileSource, ModelRepository
from serving.trace_scorer import TraceScorer, trace_opener
from tests.live_traces import changed, traces, write_model
from tests.trace_sets import VARIABLES

_TASKS = ("metrology", "fault", "risk")
_NAMES = st.sampled_from((*VARIABLES, "other_pa"))


@pytest.fixture(scope="module")
def scorers(tmp_path_factory) -> list[TraceScorer]:
    made = []
    for task in _TASKS:
        path = write_model(tmp_path_factory.mktemp("model") / "m.onnx", task)
        source = FileSource(path, f"trace-{task}")
        repository = ModelRepository(source, Device.CPU, trace_opener(task), threads=1)
        repository.refresh()
        made.append(TraceScorer(repository))
    return made


@st.composite
def any_trace(draw: st.DrawFn) -> Trace:
    """The step's traces, with any values, names and times."""
    samples = draw(st.sampled_from((0, 1, 3, 24, 60)))
    names = tuple(draw(st.lists(_NAMES, max_size=4)))
    width = draw(st.sampled_from((len(names), len(names), len(names), 2)))
    values = draw(hnp.arrays(np.float32, (samples, width), elements=st.floats(width=32)))
    times = draw(st.none() | hnp.arrays(np.float32, st.just(samples), elements=st.floats(width=32)))
    return changed(
        traces(1)[0],
        variables=names,
        values=Array.of(values),
        times_ms=None if times is None else Array.of(times),
        sample_period_ms=draw(st.floats() | st.just(1000.0)),
        module_id=draw(st.sampled_from(("0", "0", "9"))),
    )


@settings(max_examples=80)
@given(trace=any_trace())
def test_every_trace_is_answered_or_refused(scorers: list[TraceScorer], trace: Trace) -> None:
    other = traces(1)[0]
    for scorer in scorers:
        answer, beside = scorer([trace, other])
        assert isinstance(beside, list)
        assert beside == scorer([other])[0]
        if isinstance(answer, DataError):
            assert str(answer)
            continue
        (event,) = answer
        encode(event)
        if isinstance(event, VirtualMetrology):
            assert all(map(math.isfinite, (event.predicted, event.low, event.high)))
            assert event.low <= event.predicted <= event.high
        else:
            assert isinstance(event, TraceJudgement)
            assert (event.score is None) == bool(event.reason)
            assert event.score is None or math.isfinite(event.score)
            assert all(math.isfinite(one.value) for one in event.contributions)
