"""A lease in the database: one of several stateful loops of a name works, the others stand by.

The lease is renewed inside each transaction of its holder. A holder that lost it therefore cannot
commit anything any more, whatever the clocks of the machines say; clocks only decide how soon a
standby takes over. On PostgreSQL the clock is the server's, the same for all machines.
"""

import uuid

import sqlalchemy as sa

from contracts.clock import Clock, SystemClock
from contracts.errors import FencedError
from streaming.database import insert_missing
from streaming.liveness import process_name, surely_gone
from streaming.outbox import metadata

__all__ = ["Lease"]

_leases = sa.Table(
    "stream_leases",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("process", sa.String(200), nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)
_FREE = {"holder": "", "process": "", "expires_ms": 0}


class Lease:
    """The lease `name`, as one would-be holder sees it.

    Args:
        name: what only one may do at a time.
        clock: judges whether a lease has expired; None takes the database's, which for SQLite is
            this machine's.
        duration_ms: how long a holder that hangs keeps standbys waiting. One whose process ended
            is replaced at once where that can be known (streaming.liveness).
    """

    def __init__(self, name: str, clock: Clock | None, duration_ms: int) -> None:
        self._name = name
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self.duration_ms = duration_ms

    def acquire(self, connection: sa.Connection) -> bool:
        """Take the lease if it is free, expired or ours; whether we hold it now.

        Never waits: a lease that is locked has a holder at work, or one of whose last transaction
        the server does not know yet how it ends. Once this returns True, all earlier ones have.
        """
        here = _leases.c.name == self._name
        if connection.execute(sa.select(_leases.c.name).where(here)).first() is None:
            insert_missing(connection, _leases, [{"name": self._name, **_FREE}])
        now_ms = self._now_ms(connection)
        row = connection.execute(
            sa.select(_leases, now_ms.label("now_ms")).where(here).with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return False
        # Nobody's lease ends later than one that is renewed now: it is from before the clock was
        # set back, and would hold a standby up for as long. Its holder, if it lives, is fenced.
        left_ms = row.expires_ms - row.now_ms
        taken = 0 < left_ms <= self.duration_ms and not surely_gone(row.process)
        if row.holder != self._holder and taken:
            return False
        mine = {
            "holder": self._holder,
            "process": process_name(),
            "expires_ms": row.now_ms + self.duration_ms,
        }
        connection.execute(_leases.update().where(here).values(**mine))
        return True

    def renew(self, connection: sa.Connection) -> None:
        """Keep the lease within a transaction that must not commit without it.

        Raises:
            FencedError: somebody else has it now.
        """
        renewed = connection.execute(
            _leases.update()
            .where(_leases.c.name == self._name, _leases.c.holder == self._holder)
            .values(expires_ms=self._now_ms(connection) + self.duration_ms)
        )
        if renewed.rowcount != 1:
            raise FencedError(
                f"the lease {self._name!r} went to another process; this one must wait for its turn"
            )

    def release(self, connection: sa.Connection) -> None:
        """Give the lease up, if it is ours."""
        # The row stays: rows that come and go would have to be made again under races.
        connection.execute(
            _leases.update()
            .where(_leases.c.name == self._name, _leases.c.holder == self._holder)
            .values(**_FREE)
        )

    def _now_ms(self, connection: sa.Connection) -> sa.ColumnElement[int]:
        if self._clock is None and connection.dialect.name == "postgresql":
            # Not now(): that is when the transaction began, which may have waited since.
            seconds = sa.func.extract("epoch", sa.func.clock_timestamp())
            return sa.cast(seconds * 1000, sa.BigInteger)
        clock = self._clock or SystemClock()
        return sa.literal(clock.now_ms(), sa.BigInteger)
