"""Watching what a command connects to, and running one where there is no way out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.connections import Connection, connections, missing, watching
from tests.deploy_files import ROOT

TALKS = """
import socket, subprocess, sys
server = socket.create_server(("127.0.0.1", 0))
port = str(server.getsockname()[1])
child = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
subprocess.run([sys.executable, "-c", child, port], check=True)
print(port)
"""
LEAVES = "import socket; socket.socket().connect_ex(('192.0.2.1', 9))"


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_watched_command_and_its_child_are_seen(tmp_path: Path) -> None:
    command = [*watching(tmp_path), sys.executable, "-c", TALKS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    port, name = int(done.stdout), Path(sys.executable).name
    expected = {Connection(name, kind, "tcp", "127.0.0.1", port) for kind in ("listen", "connect")}
    assert connections(tmp_path) == expected


@pytest.mark.parametrize(("code", "said", "ends"), [(LEAVES, "1 attempts", 1), ("", "0 att", 0)])
def test_what_leads_out_is_counted(code: str, said: str, ends: int) -> None:
    offline = [sys.executable, str(ROOT / "deploy" / "offline.py"), "--strict"]
    command = [*offline, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "no network namespace" in done.stderr or "not installed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert said in done.stderr
    assert done.returncode == ends
