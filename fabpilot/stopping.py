"""Stopping cleanly: signals, and the end of the process that started us, set one event."""

import os
import signal
import sys
import threading
from types import FrameType

__all__ = ["CHILD_VARIABLE", "stop_event"]

# Set by the supervisor for its children: their standard input is a pipe it holds. When the
# supervisor dies, however it dies, the pipe ends and the child stops by itself.
CHILD_VARIABLE = "_FABPILOT_CHILD"


def stop_event() -> threading.Event:
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, on_signal)
        signal.signal(signal.SIGTERM, on_signal)
    if os.environ.get(CHILD_VARIABLE):
        threading.Thread(target=_watch_parent, args=(stop,), name="parent", daemon=True).start()
    return stop


def _watch_parent(stop: threading.Event) -> None:
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 4096):
        pass
    stop.set()
