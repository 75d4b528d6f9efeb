"""A site's controller and the console on one PostgreSQL, started at once, restarted under both."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from console import Site
from contracts.codec import encode
from contracts.events import Action, AlertDecision, Metrology, WaferMap
from contracts.topics import STREAM_SPECS, Stream, topic_name
from fab_sim import load_scenario
from fab_sim.fab import Fab
from fabpilot.controller import Controller
from streaming.database import open_engine
from streaming.embedded import EmbeddedLog
from tests.console_server import running
from tests.control_streams import SITE, START_MS, prediction
from tests.integration.test_console_live import get, post, until
from tests.stream_helpers import decoded

pytestmark = pytest.mark.postgres

WAFERS = 250  # by then the first excursion of the scenario has its alert


@pytest.fixture
def log(tmp_path):
    """What a fab and a model that is always right have written."""
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics(
        {topic_name(SITE, stream): STREAM_SPECS[stream].partitions for stream in Stream}
    )
    fab = Fab(load_scenario("demo"), site=SITE, start_ms=START_MS)
    events = []
    while fab.wafers_done < WAFERS:
        for event in fab.step():
            events.append(event)
            if isinstance(event, WaferMap):
                true = fab.true_patterns()[event.substrate_id]
                seen = tuple(pattern for pattern in true if pattern != "None")
                events.append(prediction(event.substrate_id, seen, event.time_ms, event.lot_id))
    log.append([encode(event) for event in events if not isinstance(event, Metrology)])
    yield log
    log.close()


def of_type(log, stream, kind, **values):
    """Events on the log that have these values."""
    return [
        event
        for event in decoded(log, topic_name(SITE, stream))
        if isinstance(event, kind) and all(getattr(event, k) == v for k, v in values.items())
    ]


def test_an_alert_from_the_fab_to_a_decision(log, postgres_url, postgres_server):
    ours, theirs = open_engine(postgres_url), open_engine(postgres_url)
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        controlling = pool.submit(Controller(log, ours, site=SITE, policy_path=None).run, stop)
        try:
            with running(engine=theirs, log=log, sites=(Site(SITE),)) as server:
                alerts = until(lambda: get(server, "/api/v1/alerts")["items"])
                actions = until(lambda: get(server, "/api/v1/actions")["items"])
                place = f"/api/v1/alerts/{alerts[0]['alert_id']}"
                post(server, f"{place}/decisions", {"decision": "acknowledge", "by": "kim"})
                until(lambda: of_type(log, Stream.ALERTS, AlertDecision, by="kim"))

                postgres_server.kill()
                postgres_server.start()

                until(lambda: get(server, "/api/v1/strip")["projector"] == "running")
                assert get(server, place)["state"] == "acknowledged"
                place = f"/api/v1/actions/{actions[0]['action_id']}"
                post(server, f"{place}/decisions", {"decision": "approve", "by": "kim"})
                until(lambda: of_type(log, Stream.ACTIONS, Action, status="approved", by="kim"))
        finally:
            stop.set()
        assert controlling.result().dead_letters == 0
    ours.dispose()
    theirs.dispose()
