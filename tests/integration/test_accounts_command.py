"""`fabpilot accounts` and `fabpilot audit`, as an administrator uses them."""

import json
import sqlite3
import subprocess
import sys

import pytest

from tests.command_line import Command, Home


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def with_password(home, password, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "fabpilot", *arguments],
        env=home.environment,
        input=password,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_accounts_tokens_and_their_trail(home):
    add = ("accounts", "add", "Kim", "--role", "admin", "--password-stdin", "--json")
    done = with_password(home, "three small words\n", *add)
    assert json.loads(done.stdout)["name"] == "kim"
    asked = home.run("accounts", "add", "lee", "--role", "viewer", code=1)
    assert "--password-stdin" in asked.stderr
    made = home.json("accounts", "token", "add", "kim", "--scope", "look", "--for", "report")
    assert made["token"].startswith("fabpilot_")
    assert made["token"] not in (home.folder / "fabpilot.db").read_bytes().decode("latin-1")
    lines = home.run("audit", "export").stdout.splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["account.added", "token.added"]
    with sqlite3.connect(home.folder / "fabpilot.db") as database:
        database.execute("DROP TRIGGER console_audit_no_update")
        database.execute("UPDATE console_audit SET who = 'nobody' WHERE id = 1")
    database.close()
    assert json.loads(home.run("audit", "verify", "--json", code=1).stdout)["intact"] is False


def test_a_console_that_others_can_reach_must_have_accounts(home, tmp_path):
    refused = home.run("console", "--host", "0.0.0.0", "--port", "0", code=1)
    assert "FABPILOT_AUTH=local" in refused.stderr
    secret = tmp_path / "secret"
    secret.write_text("three small words\n")
    locked = Home(home.folder, FABPILOT_AUTH="local", FABPILOT_ADMIN_PASSWORD_FILE=str(secret))
    with Command(locked, "console", "--host", "0.0.0.0", "--port", "0") as console:
        console.says("console: http://")
        assert "unencrypted" in console.said()
        assert console.stop() == 0
    with sqlite3.connect(home.folder / "fabpilot.db") as database:
        assert database.execute("SELECT name, role FROM console_accounts").fetchall() == [
            ("admin", "admin")
        ]
    database.close()
