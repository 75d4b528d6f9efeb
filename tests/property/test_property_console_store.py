import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.store import project
from console.tables import create_tables
from contracts.events import AlertDecision
from streaming.database import open_engine
from tests.console_events import (
    ALERT_ID,
    SITE,
    delivered,
    dump,
    edge_ring_alert,
    inhibit_action,
    module_states,
    wafer_events,
)
from tests.console_steering import chart_events, history_events, risk_events, run_events
from tests.factories import NOON_MS

DECISIONS = [
    AlertDecision(
        event_id=f"decision-{index}",
        site=SITE,
        time_ms=NOON_MS + index,
        alert_id=ALERT_ID,
        decision=decision,
        by="kim",
    )
    for index, decision in enumerate(("acknowledged", "shelved", "reopened"))
]
EVENTS = [
    *module_states(),
    *wafer_events(0, bad=False, module="A"),
    *wafer_events(1, bad=True, module="B"),
    *(edge_ring_alert(2, revision=revision) for revision in (1, 2, 3)),
    inhibit_action(),
    inhibit_action(event_id="approved", status="approved", by="kim"),
    inhibit_action(event_id="applied", status="applied", by="fab"),
    *DECISIONS,
    *history_events()[-6:],
    *chart_events()[19:22],
    *run_events()[:2],
    *risk_events()[:4],
]


def stored(batches):
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/x.db")
        create_tables(engine)
        for batch in batches:
            with engine.begin() as connection:
                project(connection, batch)
        found = dump(engine)
        engine.dispose()
    return found


IN_ORDER = delivered(EVENTS)
EXPECTED = stored([IN_ORDER])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.permutations(range(len(EVENTS))),
    st.lists(st.integers(0, len(EVENTS) - 1), max_size=8),
    st.integers(1, len(EVENTS)),
)
def test_the_read_model_depends_on_the_events_alone(order, again, batch):
    """Any order, any repetition, any batching ends in the same rows."""
    arrived = [IN_ORDER[index] for index in [*order, *again]]
    batches = [arrived[start : start + batch] for start in range(0, len(arrived), batch)]
    assert stored(batches) == EXPECTED
