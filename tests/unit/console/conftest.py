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


def _engine(url):
    engine = open_engine(url)
    create_tables(engine)
    create_outbox(engine)
    return engine


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A database file with two lots, an alert and a proposed action; to be copied."""
    path = tmp_path_factory.mktemp("console") / "filled.db"
    _fill(_engine(f"sqlite:///{path}"))
    return path


def _fill(engine):
    with engine.begin() as connection:
        project(connection, delivered(fab_events()))
    # Closing the last connection brings the write-ahead log into the file.
    engine.dispose()


@pytest.fixture(scope="session")
def nothing(tmp_path_factory):
    """A database file with empty tables; to be copied."""
    path = tmp_path_factory.mktemp("console") / "empty.db"
    _engine(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(scope="session")
def postgres_stores(postgres_server):
    """Names of two PostgreSQL databases to be copied: one with empty tables, one filled."""
    names = postgres_server.create_database(), postgres_server.create_database()
    for name in names:
        _engine(postgres_server.url(name)).dispose()
    _fill(open_engine(postgres_server.url(names[1])))
    return names


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def copy_of(request, tmp_path):
    """Gives a copy of the empty (0) or the filled (1) store, in each of the two databases."""
    copies = []

    def copy(which):
        if request.param == "sqlite":
            source = request.getfixturevalue(("nothing", "filled")[which])
            engine = open_engine(f"sqlite:///{shutil.copy(source, tmp_path / f'{which}.db')}")
        else:
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_stores")[which]
            engine = open_engine(server.url(server.create_database(template)))
        copies.append(engine)
        return engine

    yield copy
    for engine in copies:
        engine.dispose()
        if request.param == "postgres":
            request.getfixturevalue("postgres_server").drop_database(engine.url.database)


@pytest.fixture
def engine(copy_of):
    """An engine over an empty store."""
    return copy_of(0)


@pytest.fixture
def full(copy_of):
    """An engine over a store of one's own with two lots, an alert and a proposed action."""
    return copy_of(1)


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
