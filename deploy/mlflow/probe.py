"""Health of MLflow: an account gets in, and the registry behind it answers from its database."""

import base64
import sys
import urllib.request
from pathlib import Path

_URL = "http://127.0.0.1:5000/api/2.0/mlflow/registered-models/search?max_results=1"


def main() -> None:
    """Ask; end with 1 and the reason if that fails."""
    password = Path("/run/secrets/mlflow_admin").read_text().strip()
    token = base64.b64encode(f"admin:{password}".encode()).decode()
    request = urllib.request.Request(_URL, headers={"authorization": f"Basic {token}"})
    try:
        urllib.request.urlopen(request, timeout=8).read()
    except OSError as error:
        sys.exit(f"unhealthy: {error}")


if __name__ == "__main__":
    main()
