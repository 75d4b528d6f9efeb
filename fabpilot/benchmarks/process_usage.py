"""What a process of this machine has used, as Linux counts it (proc(5))."""

import os
from pathlib import Path

__all__ = ["cpu_s", "machine_cpu_s", "resident_mib"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process (VmRSS) in MiB.

    Raises:
        ProcessLookupError: it has ended and nobody has waited for it.
        FileNotFoundError: there is no such process.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has ended")


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in seconds (utime and stime).

    Raises:
        FileNotFoundError: there is no such process.
    """
    # The command in parentheses may hold spaces: count the fields behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Processor time that all cores together have used for anything, in seconds."""
    user, nice, system, _idle, _wait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICKS_PER_S
