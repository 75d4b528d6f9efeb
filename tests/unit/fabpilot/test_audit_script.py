"""What `make audit` makes of pip-audit's answer."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "audit.py"


@pytest.fixture(scope="module")
def verdict():
    spec = importlib.util.spec_from_file_location("audit_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.verdict


def said(*dependencies):
    return json.dumps({"dependencies": list(dependencies)})


FINE = {"name": "numpy", "version": "2.1", "vulns": []}
BAD = {"name": "x", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
UNKNOWN = {"name": "y", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (said(FINE), 0, "1 packages looked up, 0 with"),
        (said(FINE, BAD), 1, "x 1: PYSEC-1, mended in 2"),
        (said(FINE, UNKNOWN), 0, "not looked up: y"),
        (said(UNKNOWN), 2, "NOT looked"),
        (said(), 2, "NOT looked"),
        ("", 2, "connection refused"),
        ("[]", 2, "NOT looked"),
    ],
)
def test_not_looked_is_not_nothing_found(verdict, answer, status, words):
    code, lines = verdict(answer, "pip_audit: trouble\nconnection refused\n")
    assert code == status
    assert words in "\n".join(lines)
