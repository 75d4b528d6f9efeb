"""A console on a free loopback port, in a thread, for tests that need a real connection."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from console import ConsoleDeps, ConsoleServer, create_app

_START_S = 20.0


@contextmanager
def running(**deps: Any) -> Iterator[ConsoleServer]:
    """Serve until the block ends; fails if the console does not start or stop."""
    server = ConsoleServer(create_app(ConsoleDeps(**deps)), port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.02)
    assert server.started, "the console did not start"
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(_START_S)
        assert not thread.is_alive(), "the console did not stop"
