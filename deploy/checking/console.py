"""What the check asks over HTTP: the console, as a browser would, and Prometheus."""

import http.client
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checking.engine import CheckError, Stack

__all__ = ["get_json", "panel_queries", "prometheus", "sign_in", "status_of"]


def get_json(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """What is at `url`.

    Raises:
        CheckError: it does not answer, or with an error.
    """
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CheckError(f"{url}: {error}") from error


def status_of(url: str) -> int:
    """The status of a request without an account."""
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        raise CheckError(f"{url}: {error}") from error


def sign_in(base: str, name: str, password: str) -> None:
    """Sign in to the console as a browser would, and see the strip with the session.

    Raises:
        CheckError: it does not let this account in.
    """
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    try:
        with browser.open(f"{base}/login", timeout=15) as answer:
            found = re.search(r'name="csrf" value="([^"]+)"', answer.read().decode())
        form = {"csrf": found[1] if found else "", "name": name, "password": password}
        request = urllib.request.Request(
            f"{base}/login", urllib.parse.urlencode(form).encode(), {"Origin": base}
        )
        with browser.open(request, timeout=15), browser.open(f"{base}/api/v1/strip", timeout=15):
            return
    except (OSError, http.client.HTTPException) as error:
        raise CheckError(f"{base}/login does not let {name} in: {error}") from error


def prometheus(stack: Stack, path: str, **parameters: str) -> Any:
    """Ask Prometheus, which nobody outside can reach, from the console's container."""
    query = urllib.parse.urlencode(parameters)
    source = (
        "import urllib.request\n"
        f"url = 'http://prometheus:9090/api/v1/{path}?' + {query!r}\n"
        "print(urllib.request.urlopen(url, timeout=20).read().decode().replace('\\n', ' '))\n"
    )
    return stack.run_python("console", source)["data"]


def panel_queries(folder: Path) -> list[tuple[str, str]]:
    """(dashboard: panel, query) of every panel."""
    found = []
    for file in sorted(folder.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            place = f"{board['uid']}: {panel['title']}"
            found += [(place, target["expr"]) for target in panel["targets"]]
    return found
