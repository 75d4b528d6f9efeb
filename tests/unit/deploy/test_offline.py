"""Running a command where there is no way out."""

import subprocess
import sys

import pytest

from tests.deploy_files import ROOT
from tests.rights import without_a_way_out

LEAVES = "import socket; socket.socket().connect_ex(('192.0.2.1', 9))"


@pytest.mark.parametrize(("code", "said", "ends"), [(LEAVES, "1 attempts", 1), ("", "0 att", 0)])
def test_what_leads_out_is_counted(code: str, said: str, ends: int) -> None:
    without_a_way_out()
    offline = [sys.executable, str(ROOT / "deploy" / "offline.py"), "--strict"]
    command = [*offline, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said in done.stderr
    assert done.returncode == ends
