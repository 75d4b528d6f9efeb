"""URLs of databases, what is said of those that do not work, and passwords never said."""

import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.errors import ConfigError, LogError, LogUnavailableError
from streaming.database import open_engine
from streaming.outage import database_errors

SECRET = "xyzzy-plugh"


def failure_of(engine: sa.Engine) -> LogError:
    """What using the database raises."""
    with pytest.raises(LogError) as raised, database_errors(engine), engine.begin():
        pass
    engine.dispose()
    assert SECRET not in str(raised.value)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    return raised.value


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"fab:{SECRET}@host/x", "cannot be read"),
        (f"postgresql://fab:{SECRET}@host:port/x", "cannot be read"),
        (f"postgresql://fab:a@{SECRET}@host/x", "%40"),
        (f"mysql://fab:{SECRET}@host/x", "not one of ours"),
        (f"postgresql+asyncpg://fab:{SECRET}@host/x", "not one of ours"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        open_engine(url)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_folder_of_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        open_engine(f"sqlite:///{tmp_path}/file/below/state.db")


@pytest.mark.parametrize("url", ["postgresql://fab@host/x", "postgresql+psycopg://fab@host/x"])
def test_a_password_may_come_from_elsewhere(url: str) -> None:
    engine = open_engine(url, password=SECRET)
    assert engine.url.password == SECRET
    assert engine.driver == "psycopg"
    assert SECRET not in str(engine.url)


def test_a_password_in_the_query_is_hidden_too() -> None:
    engine = open_engine(f"postgresql://fab@host/x?password={SECRET}&sslmode=require")
    assert engine.url.password == SECRET
    assert SECRET not in str(engine.url)
    assert engine.url.query == {"sslmode": "require"}


def test_a_server_that_is_not_there_may_come() -> None:
    # Port 1 (tcpmux): nobody listens there.
    error = failure_of(open_engine(f"postgresql://fab:{SECRET}@127.0.0.1:1/x"))
    assert isinstance(error, LogUnavailableError)
    assert "fab:***@127.0.0.1:1/x" in str(error)


def test_a_file_that_is_no_database_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"no database" * 1000)
    assert not isinstance(failure_of(open_engine(f"sqlite:///{path}")), LogUnavailableError)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": SECRET}, "check user and password"),
        ({"username": "nobody", "password": SECRET}, "check user and password"),
        ({"database": "nothing"}, "make what is missing"),
    ],
)
def test_a_server_that_refuses_us(postgres_url: str, change: dict[str, str], said: str) -> None:
    url = sa.make_url(postgres_url).set(**change)
    error = failure_of(open_engine(url.render_as_string(hide_password=False)))
    assert not isinstance(error, LogUnavailableError)
    assert said in str(error)
    assert str(url.password) not in str(error)


@pytest.mark.postgres
def test_what_a_session_is_told(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        told = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in (
                "application_name",
                "idle_in_transaction_session_timeout",
                "statement_timeout",
                "transaction_isolation",
            )
        }
    engine.dispose()
    assert told == {
        "application_name": "fabpilot",
        "idle_in_transaction_session_timeout": "45s",
        "statement_timeout": "1min",
        "transaction_isolation": "read committed",
    }


@pytest.mark.postgres
def test_a_statement_that_cannot_be_carried_out_is_the_database_s_fault(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with (
        pytest.raises(LogError, match="does not exist"),
        database_errors(engine),
        engine.begin() as connection,
    ):
        connection.execute(sa.text("SELECT * FROM gone"))
    with (
        pytest.raises(sa.exc.DataError),
        database_errors(engine),
        engine.begin() as connection,
    ):
        connection.execute(sa.text("SELECT CAST(:value AS int)").bindparams(value="no number"))
    engine.dispose()
