"""`make audit`: a software bill of materials, and what is known to be vulnerable in it.

The bill needs no network. Known vulnerabilities come from the advisories of the package index;
where they cannot be had this says so and fails, since "not looked" is not "nothing found".
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BILL = Path("dist/sbom.json")
# Of an environment of a few hundred packages.
TIMEOUT_S = 600
NOT_LOOKED, VULNERABLE = 2, 1


def bill() -> int:
    """Write the CycloneDX bill of this environment; how many components it has."""
    BILL.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable]
    command += ["--pyproject", "pyproject.toml", "--output-reproducible", "-o", str(BILL)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return len(json.loads(BILL.read_text())["components"])


def advisories() -> tuple[str, str]:
    """What pip-audit says about everything installed, and of its troubles."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, "--format", "json"], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    return done.stdout, done.stderr


def verdict(said: str, trouble: str) -> tuple[int, list[str]]:
    """Exit status and lines for a person.

    Args:
        said: pip-audit's JSON; anything else if it came to nothing.
        trouble: what it said on standard error.
    """
    try:
        found: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        found = []
    looked = [one for one in found if "skip_reason" not in one]
    if not looked:
        reasons = [one["skip_reason"] for one in found if one.get("name") != "fabpilot"][:1]
        reason = (reasons or trouble.strip().splitlines()[-1:] or ["no answer"])[0]
        return NOT_LOOKED, [
            f"NOT looked for vulnerabilities: the advisories cannot be had ({reason[:300]})",
            "Run make audit where the package index answers with its advisories.",
        ]
    lines = [
        f"{one['name']} {one['version']}: {advisory['id']}, mended in "
        + (", ".join(advisory["fix_versions"]) or "no version yet")
        for one in looked
        for advisory in one["vulns"]
    ]
    bad = sum(bool(one["vulns"]) for one in looked)
    lines.append(f"{len(looked)} packages looked up, {bad} with a known vulnerability")
    skipped = [one["name"] for one in found if "skip_reason" in one]
    if skipped:
        lines.append(f"{len(skipped)} not on the index, so not looked up: {', '.join(skipped)}")
    return VULNERABLE if bad else 0, lines


if __name__ == "__main__":
    print(f"{BILL}: {bill()} components (CycloneDX)")
    status, told = verdict(*advisories())
    print("\n".join(told))
    sys.exit(status)
