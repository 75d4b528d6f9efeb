"""Writes what docker-compose.yml needs and must not be in it: `make secrets`.

Random passwords in the folder secrets/, settings in .env. What exists is kept, so running it again
after an upgrade adds what is new; a password is changed by removing its file and following
docs/deploy.md. The folder is open to its owner alone (0700). The files in it can be read by all who
get that far (0444): a container's user has another number than you, and Compose hands files over as
they are.
"""

import argparse
import base64
import os
import re
import secrets
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    "postgres_admin",
    "fabpilot_db",
    "mlflow_db",
    "mlflow_admin",
    "mlflow_session",
    "mlflow_reader",
    "mlflow_trainer",
    "grafana_admin",
    "console_admin",
)
# 192 bits, in characters that need no quoting anywhere.
_BYTES = 24


def version(root: Path) -> str:
    """The project's version, which is the images' tag."""
    found = re.search(r'__version__ = "([^"]+)"', (root / "fabpilot" / "__init__.py").read_text())
    return found[1] if found else "0"


def make_secrets(target: Path, tag: str) -> list[Path]:
    """Make what is missing in `target`; gives the files made."""
    folder = target / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    made = []
    for name in NAMES:
        file = folder / name
        if not file.exists():
            _write(file, secrets.token_urlsafe(_BYTES), 0o444)
            made.append(file)
    settings = target / ".env"
    if not settings.exists():
        _write(settings, _settings(tag), 0o600)
        made.append(settings)
    return made


def _settings(tag: str) -> str:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
    return (
        "# Settings of docker-compose.yml; made by make secrets, yours to change.\n"
        f"FABPILOT_TAG={tag}\n"
        "# demo: the synthetic fab and a first model; metrics: Prometheus, Grafana; gpu.\n"
        "COMPOSE_PROFILES=demo,metrics\n"
        "FABPILOT_SITE=kr1\n"
        f"KAFKA_CLUSTER_ID={cluster}\n"
    )


def _write(file: Path, text: str, mode: int) -> None:
    """Made readable to nobody else first, so that there is no moment in which it is."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    file.chmod(mode)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, default=ROOT, help="folder (default: the project's)")
    options = parser.parse_args()
    made = make_secrets(options.into, version(ROOT))
    for file in made:
        print(f"made {file}", file=sys.stderr)
    if not made:
        print("everything was there already; nothing was changed", file=sys.stderr)


if __name__ == "__main__":
    main()
