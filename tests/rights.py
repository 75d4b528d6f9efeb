"""What this machine lets the tests do."""

from pathlib import Path

import pytest

from tests.deploy_files import load

__all__ = ["may_administer", "without_a_way_out"]

# linux/capability.h: to mount a disk, to make a namespace.
_CAP_SYS_ADMIN = 21


def may_administer() -> bool:
    """Whether we may mount disks and make namespaces (Linux, CAP_SYS_ADMIN)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    rights = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(rights, 16) >> _CAP_SYS_ADMIN & 1)


def without_a_way_out() -> list[str]:
    """Before a command: it gets a network of its own, with loopback alone.

    The test is skipped where the user may not make such a network; who may must be able to.
    """
    try:
        return list(load("offline.py").launcher())
    except SystemExit as error:
        if may_administer():
            raise
        pytest.skip(str(error))
