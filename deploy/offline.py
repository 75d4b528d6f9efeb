"""Runs a command where there is no way out: a network namespace with loopback and nothing else.

    python deploy/offline.py make test

Every process of the command finds 127.0.0.1 and ::1; whatever it tries beyond fails at once with
"Network is unreachable", and the kernel counts it. The count is said at the end, and with --strict
any attempt is a failure. Needs Linux and either root or namespaces for users.
"""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

__all__ = ["attempts", "launcher"]

# linux/sockios.h and linux/if.h: set an interface's flags; it is up.
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
# linux/prctl.h: the rights that a new program would inherit are given up.
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_INSIDE = "--inside"

# A namespace of users keeps who one is: PostgreSQL does not run as root, and a test that a file
# cannot be read would not hold for it.
_WAYS = (
    ("unshare", "--net", "--"),
    ("unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--"),
)


def launcher() -> tuple[str, ...]:
    """What to put before a command to run it in a namespace of its own.

    Raises:
        SystemExit: this machine makes none; says why and what to do.
    """
    if shutil.which("unshare") is None:
        sys.exit("error: unshare is not installed (Linux alone has it; Debian: util-linux)")
    said = ""
    for way in _WAYS:
        tried = subprocess.run([*way, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return way
        said = tried.stderr.strip()
    sys.exit(
        f"error: no network namespace can be made here ({said}): run it as root, or allow users"
        " theirs (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces)"
    )


def attempts() -> int:
    """How often a packet or connection of this namespace found no route out.

    The counters of RFC 4293 (ipSystemStatsOutNoRoutes), of IPv4 and IPv6.
    """
    names, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Ip:")
    )
    count = int(dict(zip(names, values, strict=True))["OutNoRoutes"])
    six = Path("/proc/net/snmp6")
    if six.exists():
        figures = dict(line.split() for line in six.read_text().splitlines())
        count += int(figures["Ip6OutNoRoutes"])
    return count


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _inside(command: list[str], *, strict: bool) -> int:
    _raise_loopback()
    ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        sys.exit(f"error: {command[0]}: {error.strerror}")
    tried = attempts()
    print(f"offline: {tried} attempts to leave this machine, exit code {code}", file=sys.stderr)
    return 1 if strict and tried and not code else code


def main(arguments: list[str]) -> int:
    """Run what stands on the command line; its exit code."""
    inside = arguments[:1] == [_INSIDE]
    arguments = arguments[1:] if inside else arguments
    strict = arguments[:1] == ["--strict"]
    command = arguments[1:] if strict else arguments
    if not command:
        sys.exit("usage: offline.py [--strict] COMMAND [ARGUMENT …]")
    if inside:
        return _inside(command, strict=strict)
    again = [sys.executable, os.path.abspath(__file__), _INSIDE, *arguments]
    # The same process, so that whoever ends it ends the command.
    os.execvp("unshare", [*launcher(), *again])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
