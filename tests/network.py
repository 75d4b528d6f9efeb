"""What processes do on the network, and what docs/network.md says they do."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["Seen", "documented", "seen", "unexplained", "watching"]

_FOLDER = Path(__file__).parent / "network_watch"
_DOCUMENT = Path(__file__).parents[1] / "docs" / "network.md"
_HEADINGS = {"## Who listens": "listen", "## Who connects": "connect"}
# urllib3 asks whether this machine knows IPv6 by binding any port of its loopback for a moment.
_KNOWS_IPV6 = ("listen", "::1", 0)


@dataclass(frozen=True)
class Seen:
    """One thing that a process did.

    Attributes:
        process: the first word after `fabpilot`; the whole command line if it is none of ours.
        does: 'connect', 'listen', 'send' or 'look up'.
        host, port: of the address; port 0 where none was named.
    """

    process: str
    does: str
    host: str
    port: int


def watching(file: Path) -> dict[str, str]:
    """Environment in which Python processes write down what they do on the network."""
    return {"WATCH_NETWORK": str(file), "PYTHONPATH": str(_FOLDER)}


def seen(file: Path) -> set[Seen]:
    """What processes that were watched have done so far."""
    found = set()
    for line in file.read_text().splitlines() if file.exists() else ():
        record = json.loads(line)
        port = record["port"] if isinstance(record["port"], int) else 0
        found.add(Seen(_name(record["argv"]), record["does"], str(record["host"]), port))
    return found


def documented() -> dict[tuple[str, str], set[str]]:
    """By process and what it does: the settings that may name the address."""
    found: dict[tuple[str, str], set[str]] = {}
    does, columns = "", [""]
    for line in _DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            does, columns = _HEADINGS.get(line, ""), []
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not does or not line.startswith("|"):
            continue
        if not columns:
            columns = cells
            continue
        row = dict(zip(columns, cells, strict=True))
        for process in re.findall("`([a-z]+)`", row["process"]):
            settings = re.findall(r"`(FABPILOT_\w+)`", row["setting"])
            found.setdefault((process, does), set()).update(settings)
    return found


def unexplained(all_seen: set[Seen], addresses: Mapping[str, set[tuple[str, int]]]) -> set[Seen]:
    """What no row of the document allows.

    Args:
        all_seen: what was done.
        addresses: what each setting named in this run, as (host, port).
    """
    table = documented()
    bad = set()
    for one in all_seen:
        if (one.does, one.host, one.port) == _KNOWS_IPV6:
            continue
        # Looking up an address comes before connecting to it, or before listening at it.
        ways = ("connect", "listen") if one.does == "look up" else (one.does,)
        settings = set().union(*(table.get((one.process, way), set()) for way in ways))
        named = set().union(*(addresses.get(setting, set()) for setting in settings))
        hosts = {host for host, _ in named}
        if (one.host, one.port) not in named and not (one.does == "look up" and one.host in hosts):
            bad.add(one)
    return bad


def _name(argv: list[str]) -> str:
    # python -m fabpilot WORD, or .../bin/fabpilot WORD
    for before, word in pairwise(argv):
        if before.rpartition("/")[2] in ("fabpilot", "__main__.py"):
            return word
    return " ".join(argv)
