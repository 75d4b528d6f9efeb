import shutil

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from console import Check, ConsoleDeps, HealthReport, ModelInfo, Site, create_app
from console.store import project
from console.tables import create_tables
from contracts.clock import ManualClock
from streaming.database import open_engine
from streaming.outbox import create_tables as create_outbox
from tests.console_events import SHA, SITE, delivered, fab_events
from tests.factories import NOON_MS

MODEL = ModelInfo(
    name="wafer-map",
    version="3",
    alias="champion",
    sha256=SHA,
    provider="CPUExecutionProvider",
    device="cpu",
    metrics={"macro_f1": 0.93},
    labels=("None", "Edge-Ring"),
    created_ms=NOON_MS,
    run_url="http://127.0.0.1:5000/run",
)
HEALTH = HealthReport(
    (Check("processor kr1", "ok"), Check("disk", "warning", "8 % free")), {"python": "3.11"}
)


def _client(engine: Engine, **changed: object) -> TestClient:
    deps: dict = {
        "engine": engine,
        "sites": (Site(SITE, "Asia/Seoul"),),
        "clock": ManualClock(NOON_MS + 180_000),
        "model_info": lambda: [MODEL],
        "health": lambda: HEALTH,
        "version": "0.1.0",
        **changed,
    }
    return TestClient(create_app(ConsoleDeps(**deps)), base_url="http://localhost:8080")


@pytest.fixture
def client_of():
    """Makes a client of a console over an engine; three minutes after everything arrived."""
    return _client


def _engine(path):
    engine = open_engine(f"sqlite:///{path}")
    create_tables(engine)
    create_outbox(engine)
    return engine


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A database file with two lots, an alert and a proposed action; to be copied."""
    path = tmp_path_factory.mktemp("console") / "filled.db"
    engine = _engine(path)
    with engine.begin() as connection:
        project(connection, delivered(fab_events()))
    # Closing the last connection brings the write-ahead log into the file.
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def nothing(tmp_path_factory):
    """A database file with empty tables; to be copied."""
    path = tmp_path_factory.mktemp("console") / "empty.db"
    _engine(path).dispose()
    return path


@pytest.fixture
def engine(nothing, tmp_path):
    """An engine over an empty store."""
    engine = open_engine(f"sqlite:///{shutil.copy(nothing, tmp_path / 'empty.db')}")
    yield engine
    engine.dispose()


@pytest.fixture
def full(filled, tmp_path):
    """An engine over a store of one's own with two lots, an alert and a proposed action."""
    engine = open_engine(f"sqlite:///{shutil.copy(filled, tmp_path / 'full.db')}")
    yield engine
    engine.dispose()


@pytest.fixture
def client(full):
    """A client of a console that a test may decide in."""
    with _client(full) as client:
        yield client


@pytest.fixture(scope="session")
def looking(filled, tmp_path_factory):
    """A client for tests that only look; they share one console."""
    path = tmp_path_factory.mktemp("console") / "looking.db"
    engine = open_engine(f"sqlite:///{shutil.copy(filled, path)}")
    with _client(engine) as client:
        yield client
    engine.dispose()
