"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = 180) -> T:
    """What `look` gives once it is something; an error of the network is nothing yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        # Another process's state cannot be waited for.
        time.sleep(0.1)
