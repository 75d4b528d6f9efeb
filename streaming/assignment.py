"""How the partitions of a group's topics are shared out among its live members."""

from collections.abc import Collection, Mapping

from contracts.records import TopicPartition

__all__ = ["share_out"]


def share_out(
    partitions: Collection[TopicPartition],
    members: Mapping[str, Collection[str]],
    current: Mapping[TopicPartition, str],
) -> dict[TopicPartition, str]:
    """Give every partition to a member that subscribes to its topic, evenly.

    Whoever has a partition keeps it unless that would be uneven: each move costs its old owner
    the work it has in hand.

    Args:
        partitions: all there are to give.
        members: member to the topics it subscribes to.
        current: who has what now; members that are gone may occur.

    Returns:
        Partition to member; partitions of topics nobody subscribes to are missing.

    >>> t = [TopicPartition("t", i) for i in range(3)]
    >>> share_out(t, {"a": ["t"], "b": ["t"]}, dict.fromkeys(t, "a"))[t[0]]
    'b'
    """
    wanted = sorted(p for p in partitions if any(p.topic in topics for topics in members.values()))
    given: dict[TopicPartition, str] = {}
    load = dict.fromkeys(members, 0)
    # 1. Everybody keeps what they have.
    for partition in wanted:
        owner = current.get(partition)
        if owner is not None and partition.topic in members.get(owner, ()):
            given[partition] = owner
            load[owner] += 1
    # 2. What is free goes to the least busy subscriber.
    for partition in wanted:
        if partition not in given:
            owner = _least_busy(partition, members, load)
            given[partition] = owner
            load[owner] += 1
    # 3. Move one at a time from busy to less busy until no move makes it more even. Each move
    #    lowers the sum of squared loads, so this ends.
    moved = True
    while moved:
        moved = False
        for partition in wanted:
            owner = given[partition]
            other = _least_busy(partition, members, load)
            if load[owner] - load[other] > 1:
                given[partition] = other
                load[owner] -= 1
                load[other] += 1
                moved = True
    return given


def _least_busy(
    partition: TopicPartition, members: Mapping[str, Collection[str]], load: Mapping[str, int]
) -> str:
    subscribers = (name for name, topics in members.items() if partition.topic in topics)
    return min(subscribers, key=lambda name: (load[name], name))
