"""What the console knows of the registry is never waited for twice."""

import threading

from contracts.errors import RegistryError
from fabpilot.health import Cached
from streaming.deadline import Deadline


def wait_until(cached: Cached[int], least: int) -> None:
    deadline = Deadline(10.0)
    while cached() < least:
        assert not deadline.passed
        threading.Event().wait(0.01)


def test_only_the_first_who_asks_waits() -> None:
    answer, asked = threading.Event(), []

    def work() -> int:
        asked.append(1)
        if len(asked) > 1:
            assert answer.wait(10)
        return len(asked)

    cached = Cached(work, 0, seconds=0.0)
    assert cached() == 1
    # The next value is long in coming: whoever asks meanwhile gets the one before, at once.
    assert [cached() for _ in range(20)] == [1] * 20
    answer.set()
    wait_until(cached, 2)


def test_a_value_is_kept_while_it_is_young_and_while_the_next_cannot_be_had() -> None:
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        if len(calls) == 2:
            raise RegistryError("away")
        return len(calls)

    young = Cached(work, 0, seconds=3600.0)
    assert [young(), young(), len(calls)] == [1, 1, 1]
    # The first try fails, so there is nothing but what it began with; then there is the next value.
    old = Cached(work, 0, seconds=0.0)
    assert old() == 0
    wait_until(old, 3)
