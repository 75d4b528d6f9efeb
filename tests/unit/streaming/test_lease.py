"""Who may work: one holder at a time, and nobody who is gone for longer than agreed."""

import pytest
import sqlalchemy as sa

from contracts.clock import ManualClock
from contracts.errors import FencedError
from streaming import lease as lease_module
from streaming.lease import Lease
from streaming.liveness import process_name
from streaming.outbox import create_tables, metadata

LEASE_MS = 10_000
# As a holder on another machine, or in another container, would call itself.
ELSEWHERE = "b5e6c2f0-0000-4000-8000-000000000000/pid:[4026531836]/1/1"


def acquired(engine: sa.Engine, lease: Lease) -> bool:
    with engine.begin() as connection:
        return lease.acquire(connection)


def held_by(engine: sa.Engine, process: str) -> None:
    table = metadata.tables["stream_leases"]
    with engine.begin() as connection:
        connection.execute(table.update().values(process=process))


def test_only_time_ends_the_lease_of_a_process_elsewhere(engine: sa.Engine) -> None:
    create_tables(engine)
    clock = ManualClock(1_000)
    holder, standby = Lease("c", clock, LEASE_MS), Lease("c", clock, LEASE_MS)
    assert acquired(engine, holder)
    held_by(engine, ELSEWHERE)
    clock.advance(LEASE_MS - 1)
    assert not acquired(engine, standby)
    clock.advance(1)
    assert acquired(engine, standby)
    with pytest.raises(FencedError, match="another process"), engine.begin() as connection:
        holder.renew(connection)


def test_a_process_here_that_ended_is_replaced_at_once(engine: sa.Engine) -> None:
    create_tables(engine)
    clock = ManualClock(1_000)
    assert acquired(engine, Lease("c", clock, LEASE_MS))
    standby = Lease("c", clock, LEASE_MS)
    assert not acquired(engine, standby)
    place, _, start_time = process_name().rpartition("/")
    held_by(engine, f"{place}/{int(start_time) + 1}")  # a process of our number, but not ours
    assert acquired(engine, standby)


def test_a_renewed_lease_lasts(engine: sa.Engine) -> None:
    create_tables(engine)
    clock = ManualClock(1_000)
    holder, standby = Lease("c", clock, LEASE_MS), Lease("c", clock, LEASE_MS)
    assert acquired(engine, holder)
    for _ in range(3):
        clock.advance(LEASE_MS - 1)
        with engine.begin() as connection:
            holder.renew(connection)
        assert not acquired(engine, standby)
    with engine.begin() as connection:
        holder.release(connection)
    assert acquired(engine, standby)


@pytest.mark.postgres
def test_on_postgres_no_machine_s_own_clock_counts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(postgres_url)
    create_tables(engine)
    assert acquired(engine, Lease("c", None, 600_000))
    # A machine whose clock is a year ahead.
    ahead = ManualClock(lease_module.SystemClock().now_ms() + 365 * 86_400_000)
    monkeypatch.setattr(lease_module, "SystemClock", lambda: ahead)
    assert not acquired(engine, Lease("c", None, 600_000))
    engine.dispose()


@pytest.mark.postgres
def test_a_holder_that_hangs_in_a_transaction_holds_nobody_up(postgres_url: str) -> None:
    """Nobody waits for its locks, and the server ends its session in the end."""
    soon = "options=-c%20idle_in_transaction_session_timeout%3D300"
    engine = sa.create_engine(f"{postgres_url}?{soon}")
    create_tables(engine)
    clock = ManualClock(1_000)
    holder, standby = Lease("c", clock, LEASE_MS), Lease("c", clock, LEASE_MS)
    assert acquired(engine, holder)
    clock.advance(LEASE_MS - 1)
    hanging = engine.connect()
    holder.renew(hanging)
    clock.advance(2 * LEASE_MS)
    # Its transaction might still commit, so the lease is not to be had yet; but it says so at once.
    assert not acquired(engine, standby)
    while not acquired(engine, standby):
        pass
    with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
        hanging.execute(sa.select(1))
    hanging.close()
    engine.dispose()
