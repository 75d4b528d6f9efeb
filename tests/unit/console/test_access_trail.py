"""The audit trail: what was done to it shows, and everything people do is in it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from console import tables
from console.access.export import as_csv, as_lines
from console.access.trail import append, entries, verify
from contracts.errors import DataError
from streaming.database import open_engine
from tests.factories import NOON_MS

ROWS = 6


def write(engine, rows=ROWS, first=0):
    for number in range(first, first + rows):
        with engine.begin() as connection:
            append(connection, NOON_MS + number, f"p{number % 2}", "alert.acknowledged",
                   f"alert-{number}", "why: =1+1", before={"state": "new"},
                   after={"state": "acknowledged", "이름": number})  # fmt: skip


def check(engine, expect=""):
    with engine.begin() as connection:
        return verify(connection, expect)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("trail") / "trail.db"
    engine = open_engine(f"sqlite:///{path}")
    tables.create_tables(engine)
    write(engine)
    with engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER console_audit_no_{verb}"))
    engine.dispose()
    return path


def test_what_was_written_holds(engine):
    assert check(engine).rows == 0
    write(engine)
    verdict = check(engine)
    assert (verdict.rows, verdict.fault, verdict.before_chain) == (ROWS, "", 0)
    assert check(engine, verdict.head).fault == ""
    write(engine, 2, ROWS)
    assert check(engine, verdict.head).fault == ""
    with pytest.raises(DataError, match="no head"):
        check(engine, "12:abc")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, ROWS),
    st.sampled_from(
        ["who", "what", "subject", "why", "before", "after", "time_ms", "id", "digest", "delete",
         "copy", "swap"]
    ),
    st.text(max_size=5),
)  # fmt: skip
def test_whatever_is_done_to_a_row_shows(written, tmp_path_factory, row, column, value):
    path = shutil.copy(written, tmp_path_factory.mktemp("one") / "trail.db")
    engine = create_engine(f"sqlite:///{path}")
    table = tables.audit
    with engine.begin() as connection:
        this = table.c.id == row
        if column == "delete":
            connection.execute(table.delete().where(this))
        elif column == "copy":
            found = dict(connection.execute(table.select().where(this)).one()._mapping)
            connection.execute(table.insert().values(**{**found, "id": ROWS + 1}))
        elif column == "swap":
            other = row % ROWS + 1
            first, second = (
                dict(connection.execute(table.select().where(table.c.id == n)).one()._mapping)
                for n in (row, other)
            )
            for number, taken in ((row, second), (other, first)):
                values = {**taken, "id": number}
                connection.execute(table.update().where(table.c.id == number).values(**values))
        else:
            new = {"time_ms": 1, "id": ROWS + 5}.get(column, value)
            connection.execute(table.update().where(this).values(**{column: new}))
    assert check(engine).fault
    engine.dispose()


def test_a_cut_off_end_shows_by_the_count_and_by_a_head_kept_elsewhere(written, tmp_path):
    engine = create_engine(f"sqlite:///{shutil.copy(written, tmp_path / 't.db')}")
    head = check(engine).head
    with engine.begin() as connection:
        connection.execute(tables.audit.delete().where(tables.audit.c.id >= 5))
    assert "were written" in check(engine).fault
    # Somebody who knows of the count sets it back; only what was kept elsewhere tells.
    with engine.begin() as connection:
        counter = tables.counters
        connection.execute(counter.update().where(counter.c.name == "audit").values(value=4))
    assert check(engine).fault == ""
    assert "is gone" in check(engine, head).fault
    write(engine, 4, 40)
    assert "whose digest was kept" in check(engine, head).fault
    engine.dispose()


def test_rows_of_earlier_versions_are_covered(engine):
    old = {"time_ms": 1, "who": "kim", "what": "alert.resolved", "subject": "a", "why": "",
           "before": "{}", "after": "{}"}  # fmt: skip
    with engine.begin() as connection:
        for number in (1, 2):
            connection.execute(tables.audit.insert().values(id=number, **old))
    write(engine, 3)
    verdict = check(engine)
    assert (verdict.rows, verdict.before_chain, verdict.fault) == (5, 2, "")
    with engine.begin() as connection:
        name = "console_audit"
        if connection.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER console_audit_no_update"))
        else:
            connection.execute(text("ALTER TABLE console_audit DISABLE TRIGGER ALL"))
        connection.execute(text(f"UPDATE {name} SET who = 'lee' WHERE id = 2"))
    assert "row 3" in check(engine).fault


def test_exports_say_everything_and_no_formula(engine):
    write(engine, 3)
    with engine.begin() as connection:
        append(connection, 1, "=cmd()", "login.failed", "+x", "-1")
    with engine.begin() as connection:
        lines = [json.loads(line) for line in as_lines(entries(connection))]
        table = "".join(as_csv(entries(connection))).splitlines()
    assert [line["id"] for line in lines] == [1, 2, 3, 4]
    assert lines[3]["who"] == "=cmd()"
    assert json.loads(lines[0]["after"])["이름"] == 0
    assert table[0] == "id,time_ms,who,what,subject,why,before,after,digest"
    assert "'=cmd()" in table[4]
    assert "'+x" in table[4]
    assert lines[3]["digest"] in table[4]


def test_two_who_write_at_once_make_one_chain(engine):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: write(engine, 5, n * 100), range(4)))
    assert check(engine).rows == 20
    assert check(engine).fault == ""
