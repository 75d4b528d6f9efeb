"""Python imports this at its start, before anything else, when this folder is on its path.

Writes down every internet address that the process listens on, connects to, sends to or looks up:
one JSON line each, into the file that WATCH_NETWORK names. What C libraries do by themselves Python
does not see: of ours those are libpq, which connects to what FABPILOT_DATABASE names, and ONNX
Runtime, whose reports are off (tests/integration/test_quiet_libraries.py).
"""

import json
import os
import sys
from typing import Any

_DOES = {
    "socket.bind": "listen",
    "socket.connect": "connect",
    "socket.sendto": "send",
    "socket.getaddrinfo": "look up",
    "socket.gethostbyname": "look up",
    "socket.gethostbyaddr": "look up",
}
_FILE = os.environ.get("WATCH_NETWORK", "")


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _DOES:
        return
    if _DOES[event] == "look up":
        host, port = arguments[0], 0
    else:
        address = arguments[1]
        # The addresses of Unix sockets are paths.
        if not isinstance(address, tuple):
            return
        host, port = address[0], address[1]
    if isinstance(host, bytes):
        host = host.decode()
    line = {"argv": sys.orig_argv, "does": _DOES[event], "host": host, "port": port}
    # Opened anew each time: no file of ours may stay open in somebody else's process, and short
    # lines appended are never mixed up.
    with open(_FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, default=str) + "\n")


if _FILE:
    sys.addaudithook(_note)
