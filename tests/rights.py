"""What this machine lets the tests do."""

from pathlib import Path

__all__ = ["may_administer"]

# linux/capability.h: to mount a disk, to make a namespace.
_CAP_SYS_ADMIN = 21


def may_administer() -> bool:
    """Whether we may mount disks and make namespaces (Linux, CAP_SYS_ADMIN)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    rights = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(rights, 16) >> _CAP_SYS_ADMIN & 1)
