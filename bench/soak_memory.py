"""The memory of processes over the hours of a soak: sampled beside them, judged in the end."""

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

__all__ = ["ALLOWED", "Memory", "Sample", "ServiceMemory", "judge", "resident_mib"]

# Of a service's memory after warm-up, as in bench/stream_memory.py.
ALLOWED = 1.10
_EVERY_S = 1.0
# A process that has just started is still loading.
_YOUNG_S = 8.0
_KIB = 1024


def resident_mib(pid: int) -> float:
    """Memory of a process and its children in MiB, however many others map the same libraries.

    All that is resident of the first process; of its children, which share most of that, what is
    theirs alone (proc(5), Rss and Anonymous). Pss would change with every stranger that starts or
    ends a Python of its own.
    """
    total = 0
    for one in _family(pid):
        wanted = "Rss:" if one == pid else "Anonymous:"
        # One that ends meanwhile, or is being replaced, has none.
        with suppress(OSError, StopIteration, ValueError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith(wanted))
    return total / _KIB


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            found += map(int, children.split())
    return found


class Sample(msgspec.Struct, frozen=True):
    """One look at one service.

    Attributes:
        hour: of the fab's clock since the start.
        pid: of the life it is in.
        mib: as `resident_mib` counts.
    """

    service: str
    hour: float
    pid: int
    mib: float


class ServiceMemory(msgspec.Struct, frozen=True):
    """A service over the hours.

    Attributes:
        first: the most in an hour, median of the first quarter of the hours after warm-up, MiB.
        last: the same of the last quarter, MiB.
        peak: at any time, MiB.
        growth: `last` / `first`.
        slope: of a straight line through the hours after warm-up, MiB an hour.
        longest_life_h: hours that one process of it lived after warm-up, at most.
        growth_in_it: in that life, its last fifth by its first.
        flat: whether `growth` is at most `ALLOWED`.
    """

    first: float
    last: float
    peak: float
    growth: float
    slope: float
    longest_life_h: float
    growth_in_it: float
    flat: bool


def judge(samples: Sequence[Sample], warm_up_h: float) -> ServiceMemory:
    """What a service's memory did.

    Args:
        samples: of one service, oldest first.
        warm_up_h: hours at the start that do not count.

    Raises:
        ValueError: there are too few samples after warm-up to say anything.
    """
    hourly: dict[int, list[float]] = defaultdict(list)
    lives: dict[int, list[Sample]] = defaultdict(list)
    for one in samples:
        if one.hour >= warm_up_h:
            hourly[int(one.hour)].append(one.mib)
            lives[one.pid].append(one)
    if len(hourly) < 2:
        raise ValueError("too few hours after warm-up to judge memory")
    hours = sorted(hourly)
    # The most, because whoever was started again has little until work comes.
    most = [max(hourly[hour]) for hour in hours]
    quarter = max(len(hours) // 4, 1)
    first, last = statistics.median(most[:quarter]), statistics.median(most[-quarter:])
    longest = max(lives.values(), key=lambda life: life[-1].hour - life[0].hour)
    fifth = max(len(longest) // 5, 1)
    in_life = [one.mib for one in longest]
    return ServiceMemory(
        first=round(first, 1),
        last=round(last, 1),
        peak=round(max(one.mib for one in samples), 1),
        growth=round(last / first, 3),
        slope=round(float(np.polyfit(hours, most, 1)[0]), 3),
        longest_life_h=round(longest[-1].hour - longest[0].hour, 1),
        growth_in_it=round(
            statistics.median(in_life[-fifth:]) / statistics.median(in_life[:fifth]), 3
        ),
        flat=last <= ALLOWED * first,
    )


class Memory:
    """Looks at services beside their work.

    Of a service with several processes (`name-1`, `name-2`) the largest counts: which of two
    controllers holds the state changes with every kill.

    Args:
        pids: the first process of every service now, 0 where none runs.
        hour: of the fab's clock.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]], hour: Callable[[], float]) -> None:
        self._pids = pids
        self._hour = hour
        self._stop = threading.Event()
        self._born: dict[int, float] = {}
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            now, hour = time.monotonic(), self._hour()
            found: dict[str, Sample] = {}
            for name, pid in self._pids().items():
                if not pid or now - self._born.setdefault(pid, now) < _YOUNG_S:
                    continue
                service = name.partition("-")[0]
                one = Sample(service, hour, pid, resident_mib(pid))
                if one.mib and (service not in found or one.mib > found[service].mib):
                    found[service] = one
            for service, one in found.items():
                self.samples[service].append(one)
