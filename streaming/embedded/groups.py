"""Who is in a consumer group and who has which partition: rows, changed in one transaction.

A group's *generation* grows with every change of its members. An assignment notes the generation
in which its owner got it, so that a partition that went away and came back can be told from one
that stayed.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec

from contracts.records import TopicPartition
from streaming.assignment import share_out
from streaming.embedded.records import Catalogue
from streaming.liveness import surely_gone

__all__ = [
    "Assignment",
    "assignments",
    "dead_members",
    "generation",
    "group_offsets",
    "is_member",
    "join",
    "keep_alive",
    "remove",
    "store_offsets",
]


class Assignment(NamedTuple):
    """A partition's owner and the generation in which they got it."""

    member: str
    since_generation: int


def generation(connection: sqlite3.Connection, group: str) -> int:
    """The group's generation; 0 if nobody ever joined."""
    row = connection.execute("SELECT generation FROM groups WHERE name = ?", (group,)).fetchone()
    return int(row[0]) if row else 0


def is_member(connection: sqlite3.Connection, member: str) -> bool:
    """Whether `member` is still in its group."""
    found = connection.execute("SELECT 1 FROM members WHERE member = ?", (member,)).fetchone()
    return found is not None


def dead_members(
    connection: sqlite3.Connection, group: str, now_ms: int, session_timeout_ms: int
) -> list[str]:
    """Members not seen for the session timeout, or whose process has ended.

    One that was seen in the future was so before the clock was set back. It is taken for dead too:
    one that lives joins again, and one that hangs would keep its partitions until that time.
    """
    return [
        member
        for member, process, seen_ms in connection.execute(
            "SELECT member, process, seen_ms FROM members WHERE group_name = ?", (group,)
        )
        if abs(now_ms - seen_ms) > session_timeout_ms or surely_gone(process)
    ]


def keep_alive(connection: sqlite3.Connection, member: str, now_ms: int) -> None:
    """Note that `member` was seen now."""
    connection.execute("UPDATE members SET seen_ms = ? WHERE member = ?", (now_ms, member))


def join(
    connection: sqlite3.Connection,
    catalogue: Catalogue,
    group: str,
    member: str,
    topics: Iterable[str],
    process: str,
    now_ms: int,
) -> None:
    """Make `member` part of the group, or let the group look again at which topics exist."""
    connection.execute(
        "INSERT INTO groups (name, generation) VALUES (?, 0) ON CONFLICT DO NOTHING", (group,)
    )
    connection.execute(
        "INSERT OR REPLACE INTO members (member, group_name, topics, process, seen_ms)"
        " VALUES (?, ?, ?, ?, ?)",
        (member, group, msgspec.json.encode(sorted(topics)).decode(), process, now_ms),
    )
    _rebalance(connection, catalogue, group)


def remove(
    connection: sqlite3.Connection, catalogue: Catalogue, group: str, members: Collection[str]
) -> None:
    """Take members out of the group; the others get their partitions."""
    connection.executemany("DELETE FROM members WHERE member = ?", [(m,) for m in members])
    _rebalance(connection, catalogue, group)


def assignments(connection: sqlite3.Connection, group: str) -> dict[int, Assignment]:
    """Who has which partition, by partition id."""
    return {
        partition_id: Assignment(member, since)
        for partition_id, member, since in connection.execute(
            "SELECT partition_id, member, since_generation FROM assignments WHERE group_name = ?",
            (group,),
        )
    }


def group_offsets(connection: sqlite3.Connection, group: str) -> dict[int, int]:
    """Next offset to read by partition id, where one was committed."""
    return dict(
        connection.execute(
            "SELECT partition_id, next_offset FROM offsets WHERE group_name = ?", (group,)
        ).fetchall()
    )


def store_offsets(connection: sqlite3.Connection, group: str, offsets: Mapping[int, int]) -> None:
    """Set where the group stands, by partition id."""
    connection.executemany(
        "INSERT OR REPLACE INTO offsets (group_name, partition_id, next_offset) VALUES (?, ?, ?)",
        [(group, partition_id, offset) for partition_id, offset in offsets.items()],
    )


def _rebalance(connection: sqlite3.Connection, catalogue: Catalogue, group: str) -> None:
    members: dict[str, list[str]] = {
        member: msgspec.json.decode(topics, type=list[str])
        for member, topics in connection.execute(
            "SELECT member, topics FROM members WHERE group_name = ? ORDER BY member", (group,)
        )
    }
    ids = catalogue.ids(connection, {topic for topics in members.values() for topic in topics})
    names = {partition_id: partition for partition, partition_id in ids.items()}
    before = assignments(connection, group)
    current: dict[TopicPartition, str] = {
        names[partition_id]: assignment.member
        for partition_id, assignment in before.items()
        if partition_id in names
    }
    after = share_out(list(ids), members, current)

    now = generation(connection, group) + 1
    connection.execute("UPDATE groups SET generation = ? WHERE name = ?", (now, group))
    for partition_id in before:
        if partition_id not in names or names[partition_id] not in after:
            connection.execute(
                "DELETE FROM assignments WHERE group_name = ? AND partition_id = ?",
                (group, partition_id),
            )
    for partition, member in after.items():
        if current.get(partition) != member:
            connection.execute(
                "INSERT OR REPLACE INTO assignments"
                " (group_name, partition_id, member, since_generation) VALUES (?, ?, ?, ?)",
                (group, ids[partition], member, now),
            )
