"""Databases of every earlier schema come forward with their rows; later ones are refused."""

import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from contracts.errors import LogError
from streaming.database import open_engine
from streaming.migrate import VERSION_TABLE, migrate, steps, upgrade_to
from tests.make_migration import declared

GOLDEN = Path(__file__).parents[1] / "golden" / "databases"
# Schemas from before there were steps, by the commits that made them.
UNNUMBERED = sorted({path.name.split(".")[0] for path in GOLDEN.glob("*.sql")})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    opened = open_engine(url)
    yield opened
    opened.dispose()


def play(engine, name):
    """Make a database as it was."""
    script = (GOLDEN / f"{name}.{engine.dialect.name}.sql").read_text()
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(engine.url.database) as connection:
            connection.executescript(script)
        connection.close()
    else:
        with engine.begin() as connection:
            connection.connection.driver_connection.execute(script)


def table_rows(engine):
    """Every row of every table of ours, as dicts, by table."""
    found = sa.MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        return {
            name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
            for name, table in found.tables.items()
            if name != VERSION_TABLE
        }


def drift(engine):
    """What the declared tables have and the database has not, or the other way round."""
    options = {"version_table": VERSION_TABLE, "target_metadata": declared()}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, declared())


def a_row(table):
    """A row that the table takes."""

    def value(column):
        if isinstance(column.type, sa.LargeBinary):
            return b"old"
        return column.name[:16] if isinstance(column.type, sa.String) else 1

    return {column.name: value(column) for column in table.c}


def says_append_only(engine):
    """Whether the audit trail refuses to lose a row."""
    with engine.connect() as connection:
        row = a_row(sa.Table("console_audit", sa.MetaData(), autoload_with=connection))
    with engine.begin() as connection:
        connection.execute(
            sa.table("console_audit", *map(sa.column, row)).insert(), row | {"id": 7}
        )
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM console_audit"))
    except sa.exc.DatabaseError as error:
        return "append-only" in str(error)
    return False


def assert_kept(before, after):
    for name, rows in before.items():
        assert len(after[name]) == len(rows) > 0, name
        for was, now in zip(rows, after[name], strict=True):
            assert was.items() <= now.items(), name


def test_the_steps_lead_to_the_tables_as_declared(engine):
    migrate(engine)
    assert drift(engine) == [], "draft a step: python -m tests.make_migration 'what and why'"


@pytest.mark.parametrize("name", UNNUMBERED)
def test_a_database_without_a_number_comes_forward(engine, name):
    play(engine, name)
    before = table_rows(engine)
    migrate(engine)
    assert_kept(before, table_rows(engine))
    assert drift(engine) == []
    assert says_append_only(engine)


@pytest.mark.parametrize("step", steps())
def test_a_database_of_every_step_comes_forward(engine, step):
    with engine.begin() as connection:
        upgrade_to(connection, step)
        old = sa.MetaData()
        old.reflect(connection)
        for name, table in old.tables.items():
            if name != VERSION_TABLE:
                connection.execute(table.insert(), a_row(table))
    before = table_rows(engine)
    migrate(engine)
    assert_kept(before, table_rows(engine))
    assert drift(engine) == []


def test_a_later_releases_database_is_refused_and_not_touched(engine):
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        connection.execute(sa.text("DROP TABLE console_tokens"))
    with pytest.raises(LogError, match=r"later release .*9999.* restore the backup"):
        migrate(engine)
    with engine.connect() as connection:
        assert not sa.inspect(connection).has_table("console_tokens")


def test_a_step_that_fails_changes_nothing(engine):
    play(engine, "2_dda79c8")
    with engine.begin() as connection:
        # In the way of step 4, when three have been taken.
        connection.execute(sa.text("CREATE TABLE console_sessions (x INTEGER)"))
    before = table_rows(engine)
    with pytest.raises(sa.exc.DatabaseError):
        migrate(engine)
    assert table_rows(engine) == before
    assert not sa.inspect(engine).has_table(VERSION_TABLE)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE console_sessions"))
    migrate(engine)
    assert drift(engine) == []


_START = """
import sys
from streaming.database import open_engine
from streaming.migrate import migrate
engine = open_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(engine)
"""


def test_processes_that_start_at_once_take_turns(engine):
    play(engine, "3_da75f02")
    before = table_rows(engine)
    url = engine.url.render_as_string(hide_password=False)
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", _START, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert all(one.stdout.readline() == "ready\n" for one in starting)
    for one in starting:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60)[1] for one in starting]
    assert [one.returncode for one in starting] == [0, 0, 0], said
    assert_kept(before, table_rows(engine))
    assert drift(engine) == []


def test_threads_bring_different_databases_forward_at_once(tmp_path):
    engines = [open_engine(f"sqlite:///{tmp_path}/{n}.db") for n in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(migrate, engines))
    assert [drift(one) for one in engines] == [[]] * 4
    for one in engines:
        one.dispose()


def test_the_steps_are_one_line_without_gaps():
    folder = Path(sys.modules["streaming.migrate"].__file__).parent / "migrations" / "versions"
    assert steps() == tuple(f"{n:04}" for n in range(1, len(steps()) + 1))
    for path in sorted(folder.glob("v*.py")):
        number = int(path.name[1:5])
        text = path.read_text()
        before = "None" if number == 1 else f'"{number - 1:04}"'
        assert re.search(rf'^revision = "{number:04}"$', text, re.MULTILINE), path.name
        assert re.search(rf"^down_revision = {before}$", text, re.MULTILINE), path.name
