"""Starts MLflow's server: PostgreSQL behind it, accounts before it, no password on a command line.

MLflow takes its secrets from files it is named or from the environment of its own process; this
reads them from the container's secret files and becomes the server.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

SECRETS = Path(os.environ.get("SECRETS", "/run/secrets"))
CONFIG = Path("/tmp/basic_auth.ini")


def secret(name: str) -> str:
    """A secret's content, or the end with what to do."""
    try:
        value = (SECRETS / name).read_text().strip()
    except OSError as error:
        sys.exit(f"error: secret {name}: {error.strerror}; make them with: make secrets")
    if not value:
        sys.exit(f"error: secret {name} is empty; make it anew with: make secrets")
    return value


def database(name: str) -> str:
    """The URL of a database of ours."""
    host = os.environ.get("POSTGRES_HOST", "postgres")
    return f"postgresql+psycopg://mlflow:{quote(secret('mlflow_db'), safe='')}@{host}:5432/{name}"


def main() -> None:
    """Write the account settings, set the environment, become the server."""
    CONFIG.touch(mode=0o600)
    CONFIG.write_text(
        "[mlflow]\n"
        # Who has an account may read; writing takes a permission of its own.
        "default_permission = READ\n"
        f"database_uri = {database('mlflow_accounts').replace('%', '%%')}\n"
        "admin_username = admin\n"
        f"admin_password = {secret('mlflow_admin').replace('%', '%%')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(CONFIG)
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secret("mlflow_session")
    os.environ["MLFLOW_BACKEND_STORE_URI"] = database("mlflow")
    command = ["mlflow", "server", "--app-name=basic-auth", "--host=0.0.0.0", "--port=5000"]
    command += ["--workers=1", "--artifacts-destination=/data/artifacts"]
    # Without these names every request but /health is refused (Host header check).
    command += ["--allowed-hosts=mlflow:5000,localhost:*,127.0.0.1:*"]
    # The accounts of our processes are made once the server answers; it asks nobody else to.
    subprocess.Popen([sys.executable, str(Path(__file__).with_name("accounts.py"))])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
