"""A name for this process among its like that the one started in its place will have again.

Kafka gives a member that comes back under its name its partitions back at once, without a
rebalance, and ends the transaction that its predecessor may have left open. So a processor that was
killed is replaced in a second instead of after timeouts.
"""

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["instance_name"]

_MOST = 1000


@contextmanager
def instance_name(folder: Path, role: str) -> Iterator[str]:
    """The host's name and the first number that no living process of this role has.

    The number is a file lock, which the system lets go of when the process ends, however it ends.

    Args:
        folder: of this machine's fabpilot processes, such as `settings.home`.
        role: what the processes do, such as 'processor.kr1'.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60]
    for number in range(_MOST):
        descriptor = os.open(folder / f"{role}.{number}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield f"{host}-{number}"
        finally:
            os.close(descriptor)
        return
    raise RuntimeError(f"{_MOST} processes of {role} run here already")
