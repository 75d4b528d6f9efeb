"""A lease in the database: one of several stateful loops of a name works, the others stand by.

The lease is renewed inside each transaction of its holder. A holder that lost it therefore cannot
commit anything any more, whatever the clocks of the machines say; clocks only decide how soon a
standby takes over.
"""

import uuid

import sqlalchemy as sa

from contracts.clock import Clock
from contracts.errors import FencedError
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


class Lease:
    """The lease `name`, as one would-be holder sees it.

    Args:
        name: what only one may do at a time.
        clock: judges whether a lease has expired.
        duration_ms: how long a holder that hangs keeps standbys waiting. One whose process ended
            is replaced at once where that can be known (streaming.liveness).
    """

    def __init__(self, name: str, clock: Clock, duration_ms: int) -> None:
        self._name = name
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self.duration_ms = duration_ms

    def acquire(self, connection: sa.Connection) -> bool:
        """Take the lease if it is free, expired or ours; whether we hold it now."""
        now_ms = self._clock.now_ms()
        row = connection.execute(
            sa.select(_leases).where(_leases.c.name == self._name).with_for_update()
        ).one_or_none()
        mine = {
            "holder": self._holder,
            "process": process_name(),
            "expires_ms": now_ms + self.duration_ms,
        }
        if row is None:
            connection.execute(_leases.insert().values(name=self._name, **mine))
            return True
        if row.holder != self._holder and row.expires_ms > now_ms and not surely_gone(row.process):
            return False
        connection.execute(_leases.update().where(_leases.c.name == self._name).values(**mine))
        return True

    def renew(self, connection: sa.Connection) -> None:
        """Keep the lease within a transaction that must not commit without it.

        Raises:
            FencedError: somebody else has it now.
        """
        renewed = connection.execute(
            _leases.update()
            .where(_leases.c.name == self._name, _leases.c.holder == self._holder)
            .values(expires_ms=self._clock.now_ms() + self.duration_ms)
        )
        if renewed.rowcount != 1:
            raise FencedError(
                f"the lease {self._name!r} went to another process; this one must start again and"
                " wait for its turn"
            )

    def release(self, connection: sa.Connection) -> None:
        """Give the lease up, if it is ours."""
        connection.execute(
            _leases.delete().where(_leases.c.name == self._name, _leases.c.holder == self._holder)
        )
