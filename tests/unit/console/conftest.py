import pytest
from sqlalchemy import Engine

from console.store import project
from console.tables import create_tables
from contracts.clock import ManualClock
from streaming.database import open_engine
from streaming.outbox import create_tables as create_outbox
from tests.console_events import delivered, fab_events
from tests.factories import NOON_MS


@pytest.fixture
def clock():
    # Three minutes after everything arrived.
    return ManualClock(NOON_MS + 180_000)


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/console.db")
    create_tables(engine)
    create_outbox(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def full(engine: Engine) -> Engine:
    """An engine over a store with two lots, an alert and a proposed action."""
    with engine.begin() as connection:
        project(connection, delivered(fab_events()))
    return engine
