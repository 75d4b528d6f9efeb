"""Makes the accounts of our processes in MLflow, or gives them the passwords the secrets hold.

`reader` follows the registry, `trainer` registers models. Neither is an administrator.
"""

import base64
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SECRETS = Path("/run/secrets")
_SERVER = "http://127.0.0.1:5000"
_TRIES, _PAUSE_S = 120, 1.0


def _ask(method: str, path: str, body: dict[str, str]) -> int:
    """The status of a request as the administrator."""
    password = (SECRETS / "mlflow_admin").read_text().strip()
    token = base64.b64encode(f"admin:{password}".encode()).decode()
    request = urllib.request.Request(
        f"{_SERVER}/api/2.0/mlflow/users/{path}",
        data=json.dumps(body).encode(),
        method=method,
        headers={"authorization": f"Basic {token}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main() -> None:
    """Wait for the server, then make or mend each account."""
    for user in ("reader", "trainer"):
        password = (SECRETS / f"mlflow_{user}").read_text().strip()
        account = {"username": user, "password": password}
        for _ in range(_TRIES):
            try:
                status = _ask("POST", "create", account)
                if status == 400:
                    status = _ask("PATCH", "update-password", account)
            except OSError:
                status = 0
            if status == 200:
                break
            time.sleep(_PAUSE_S)
        else:
            sys.exit(f"error: the account {user} cannot be made: status {status}")


if __name__ == "__main__":
    main()
