"""What the console knows of the registry is never waited for twice."""

import threading

from contracts.errors import RegistryError
from fabpilot.health import Cached
from streaming.deadline import Deadline


def wait_until(cached: Cached[int], value: int) -> None:
    deadline = Deadline(10.0)
    while cached() != value:
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
    assert len(asked) == 2
    answer.set()
    wait_until(cached, 2)


def test_a_value_is_kept_while_it_is_young_and_while_the_next_cannot_be_had() -> None:
    fails, calls = threading.Event(), []

    def work() -> int:
        calls.append(1)
        if fails.is_set():
            raise RegistryError("away")
        return len(calls)

    young = Cached(work, 0, seconds=3600.0)
    assert [young(), young(), len(calls)] == [1, 1, 1]
    fails.set()
    old = Cached(work, 7, seconds=0.0)
    assert old() == 7
    fails.clear()
    wait_until_more = Deadline(10.0)
    while old() == 7:
        assert not wait_until_more.passed
