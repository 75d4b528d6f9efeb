"""Whether a process on this machine is still there, so that nobody waits for the dead.

A killed member would otherwise keep its partitions, or a killed controller its lease, until a
timeout. On Linux a process can be named beyond doubt: boot, PID namespace, PID and start time.
Where that is not known (another machine, another container, another system) only the timeout
tells.
"""

import os
from functools import cache
from pathlib import Path

__all__ = ["process_name", "surely_gone"]

_PROC = Path("/proc")
# Fields of /proc/<pid>/stat after the command's closing parenthesis (proc(5)): state is the 3rd
# field of the line, starttime the 22nd.
_STATE, _START_TIME = 0, 19
_DEAD_STATES = ("Z", "X")


def process_name() -> str:
    """A name for this process that no other process ever has, or '' where there is none."""
    return _name_of(os.getpid())


@cache
def _name_of(pid: int) -> str:
    place = _place()
    fields = _stat(pid)
    return f"{place}/{pid}/{fields[_START_TIME]}" if place and fields else ""


@cache
def _place() -> str:
    """This boot and PID namespace, or '' if the system does not say."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    try:
        line = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return line.rpartition(")")[2].split()


def surely_gone(name: str) -> bool:
    """Whether the process called `name` has certainly ended. In doubt, no."""
    place, _, rest = name.partition("]/")
    if not rest or f"{place}]" != _place():
        return False
    pid, _, start_time = rest.partition("/")
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):  # somebody else's process, or a damaged name
        return False
    fields = _stat(int(pid))
    if fields is None:
        return False
    return fields[_START_TIME] != start_time or fields[_STATE] in _DEAD_STATES
