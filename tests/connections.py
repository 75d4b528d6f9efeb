"""What processes really connect to and listen on, as the kernel is asked for it.

strace follows a command and all its children, so compiled code (psycopg, ONNX Runtime, torch) is
seen like Python. It stops a process at the few calls below alone (seccomp), so it costs little.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Connection", "connections", "missing", "watching"]

Kind = Literal["connect", "listen"]


@dataclass(frozen=True)
class Connection:
    """One thing a process asked for.

    Args:
        program: what it is, such as `fabpilot control` or `pg_dump`.
        kind: it connects to an address, or listens at one.
        protocol: 'tcp' or 'udp'.
        host: an IP address.
        port: of the other side, or the one it listens at.
    """

    program: str
    kind: Kind
    protocol: str
    host: str
    port: int


_CALLS = "execve,clone,clone3,fork,vfork,connect,bind,listen"
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_EXEC = re.compile(r"^execve\(.*?, \[(.*)\], 0x.*\) = 0$")
_CHILD = re.compile(r"^(?:clone3?|v?fork)\(.*\) = (\d+)$")
# A listening socket has its address beside its number (-yy); so has every socket its protocol.
_LISTEN = re.compile(r"^listen\(\d+<TCP(?:v6)?:\[(.*):(\d+)\]>")
_ADDRESS = re.compile(
    r"^(connect|bind)\(\d+<(TCP|UDP)(?:v6)?:.*sin6?_port=htons\((\d+)\).*"
    r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"'
)


def missing() -> str:
    """Why nothing can be watched here; '' if it can."""
    return "" if shutil.which("strace") else "strace is not installed (Debian: apt-get install it)"


def watching(folder: Path) -> list[str]:
    """What to put before a command so that `connections(folder)` tells of it and its children.

    The command stays the direct child of whoever starts it, and signals reach it as ever.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-D", "-f", "-ff", "--seccomp-bpf", "-qq", "-yy", "-s", "4096", "--signal=none"]
    return ["strace", *options, "-e", f"trace={_CALLS}", "-o", str(folder / "of"), "--"]


def connections(folder: Path) -> set[Connection]:
    """All that the commands watched into this folder asked for, whether or not it worked."""
    lines = {
        int(path.suffix[1:]): path.read_text(errors="replace").splitlines()
        for path in folder.glob("of.*")
    }
    names: dict[int, str] = {}
    inherited = dict(_children(lines))
    found = set()
    for task in sorted(lines, key=lambda one: _depth(one, inherited)):
        name = _at_birth(task, inherited, lines)
        for line in lines[task]:
            if match := _EXEC.match(line):
                name = _program(_STRING.findall(match[1]))
            elif one := _connection(name, line):
                found.add(one)
        names[task] = name
    return found


def _connection(name: str, line: str) -> Connection | None:
    if match := _LISTEN.match(line):
        return Connection(name, "listen", "tcp", match[1].strip("[]"), int(match[2]))
    if match := _ADDRESS.match(line):
        call, protocol, port, host = match.groups()
        if call == "connect":
            return Connection(name, "connect", protocol.lower(), host, int(port))
        # To bind a TCP socket makes nothing reachable; a UDP socket takes packets from then on.
        if protocol == "UDP":
            return Connection(name, "listen", "udp", host, int(port))
    return None


def _children(lines: dict[int, list[str]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """For each task that was started: by whom, and at which of its lines."""
    for task, said in lines.items():
        for number, line in enumerate(said):
            if match := _CHILD.match(line):
                yield int(match[1]), (task, number)


def _depth(task: int, inherited: dict[int, tuple[int, int]]) -> int:
    depth = 0
    while task in inherited and depth < 100:
        task, depth = inherited[task][0], depth + 1
    return depth


def _at_birth(task: int, inherited: dict[int, tuple[int, int]], lines: dict[int, list[str]]) -> str:
    """What program a task is of before it becomes one of its own."""
    seen = set()
    while task in inherited and task not in seen:
        seen.add(task)
        task, until = inherited[task]
        for line in reversed(lines[task][:until]):
            if match := _EXEC.match(line):
                return _program(_STRING.findall(match[1]))
    return "?"


def _program(arguments: list[str]) -> str:
    """`fabpilot NAME` for a command of ours, otherwise the program's name."""
    if "-m" in arguments[:-1]:
        place = arguments.index("-m")
        return " ".join(arguments[place + 1 : place + 3])
    return os.path.basename(arguments[0])
