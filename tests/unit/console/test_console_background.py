import threading

from console.background import Worker
from contracts.errors import LogUnavailableError


def test_work_that_fails_is_reported_and_tried_again():
    seen: list[tuple[str, str]] = []
    done = threading.Event()

    def work(stop):
        seen.append((worker.failure, worker.state))
        if len(seen) == 1:
            raise LogUnavailableError("the broker is down")
        if len(seen) == 3:
            done.set()

    worker = Worker("reader", work, pause_s=0.0)
    assert worker.state == "stopped"
    worker.start()
    assert done.wait(10)
    worker.stop(5)
    assert seen[0] == ("", "running")
    assert seen[1] == ("LogUnavailableError: the broker is down", "stopped")
    assert seen[2] == ("", "running")
    assert worker.state == "stopped"


def test_a_pause_is_cut_short_and_a_stop_may_come_twice():
    runs = threading.Semaphore(0)
    worker = Worker("relay", lambda stop: runs.release(), pause_s=3600.0)
    worker.start()
    assert runs.acquire(timeout=10)
    worker.wake()
    assert runs.acquire(timeout=10)
    worker.stop(5)
    worker.stop(5)
