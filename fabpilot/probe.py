"""`python -m fabpilot.probe [URL]`: ends with 0 if the process in this container does its work.

For a container's health check, which runs four times a minute: it imports nothing but the standard
library. Without an address it asks at FABPILOT_METRICS_PORT.
"""

import os
import sys
import urllib.error
import urllib.request

__all__ = ["main", "probe"]

_TIMEOUT_S = 5.0


def probe(url: str) -> str:
    """What is wrong at `url`, or ''."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310  (an address of ours)
            return ""
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode("utf-8", "replace").strip()
        return f"{error.code} {said}"
    except OSError as error:
        return f"{url} does not answer: {error}"


def main() -> None:
    """Ask, say what is wrong, end with 1 if something is."""
    default = f"http://127.0.0.1:{os.environ.get('FABPILOT_METRICS_PORT', '0')}/healthz"
    if reason := probe(sys.argv[1] if len(sys.argv) > 1 else default):
        sys.exit(f"unhealthy: {reason}")


if __name__ == "__main__":
    main()
