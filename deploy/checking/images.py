"""Images for a check: ours from the Dockerfile, and stand-ins where no registry can be reached."""

import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from checking.engine import CheckError, run, say

__all__ = ["build_ours", "build_stand_ins", "describe"]

ROOT = Path(__file__).resolve().parents[2]
_STAND_INS = ROOT / "deploy" / "standins"
_BASE = "localhost/standin-debian:12"
# The other images build on Python's.
_ORDER = ("python", "kafka", "postgres", "prometheus", "grafana")
_BUILD_S = 3600.0


def third_party() -> dict[str, str]:
    """What docker-compose.yml and the Dockerfile take from others: full names by short ones."""
    asked = []
    for file in (ROOT / "docker-compose.yml", ROOT / "deploy" / "Dockerfile"):
        asked += re.findall(r"^(?: +image:|FROM) +(\S+:\S+)", file.read_text(), re.MULTILINE)
    found = {}
    for name in asked:
        folder = name.partition(":")[0].rpartition("/")[2]
        if folder in _ORDER:
            found[folder] = f"docker.io/{'' if '/' in name else 'library/'}{name}"
    return found


def build_stand_ins(cache: Path) -> None:
    """Make images under the names that Compose asks for, of what Debian and Maven have.

    Raises:
        CheckError: a tool is missing, or a build fails.
    """
    for tool in ("podman", "debootstrap", "mvn"):
        if not shutil.which(tool):
            raise CheckError(
                f"{tool} is missing; on Debian: apt-get install podman debootstrap maven"
            )
    if run(["podman", "image", "exists", _BASE], check=False).returncode:
        say("stand-ins: Debian")
        root = cache / "debian"
        shutil.rmtree(root, ignore_errors=True)
        run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                "bookworm",
                str(root),
            ],
            timeout_s=_BUILD_S,
        )
        archive = cache / "debian.tar"
        run(["tar", "-C", str(root), "-cf", str(archive), "."])
        run(["podman", "import", "-q", str(archive), _BASE])
        shutil.rmtree(root)
        archive.unlink()
    jars = cache / "jars"
    if not jars.exists():
        say("stand-ins: Apache Kafka from Maven")
        pom = str(_STAND_INS / "kafka" / "pom.xml")
        copy = ["mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies"]
        run([*copy, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"], timeout_s=_BUILD_S)
    names = third_party()
    for folder in _ORDER:
        say(f"stand-ins: {names[folder]}")
        with tempfile.TemporaryDirectory(dir=cache) as context:
            shutil.copytree(_STAND_INS / folder, context, dirs_exist_ok=True)
            if folder == "kafka":
                shutil.copytree(jars, Path(context) / "jars")
            run(
                ["podman", "build", "-q", "--network", "host", "-t", names[folder], context],
                timeout_s=_BUILD_S,
            )


def build_ours(engine: str, tag: str, pip_conf: Path | None, ca: Path | None) -> None:
    """Build the images of the platform that a check runs; the trainer's, with torch, is none."""
    secrets = []
    if pip_conf is not None:
        secrets += ["--secret", f"id=pip,src={pip_conf}"]
    if ca is not None:
        secrets += ["--secret", f"id=ca,src={ca}"]
    network = ["--network", "host"] if engine == "podman" else []
    for target in ("platform", "mlflow"):
        say(f"building fabpilot-{target}:{tag}")
        where = ["-f", "deploy/Dockerfile", "--target", target, "-t", f"fabpilot-{target}:{tag}"]
        run([engine, "build", "-q", *network, *secrets, *where, "."], cwd=ROOT, timeout_s=_BUILD_S)


def build_next(engine: str, tag: str, new: str, cache: Path) -> None:
    """Images of a next version, which differ from `tag` in the version that they say they are."""
    change = (
        "import fabpilot, pathlib, re; p = pathlib.Path(fabpilot.__file__);"
        f" p.write_text(re.sub('__version__ = .*', '__version__ = \\\\'{new}\\\\'', p.read_text()))"
    )
    with tempfile.TemporaryDirectory(dir=cache) as context:
        file = Path(context) / "Dockerfile"
        file.write_text(
            f'FROM fabpilot-platform:{tag}\nUSER root\nRUN python -c "{change}"\nUSER 10001:10001\n'
        )
        run([engine, "build", "-q", "-t", f"fabpilot-platform:{new}", context], timeout_s=_BUILD_S)
    run([engine, "tag", f"fabpilot-mlflow:{tag}", f"fabpilot-mlflow:{new}"])


def describe(engine: str, tag: str) -> dict[str, dict[str, object]]:
    """Which images a check used: size, and whether one only stands in."""
    names = [*third_party().values(), f"fabpilot-platform:{tag}", f"fabpilot-mlflow:{tag}"]
    found: dict[str, dict[str, object]] = {}
    for name in names:
        form = '{{.Size}} {{index .Config.Labels "fabpilot.stand-in"}}'
        with suppress(CheckError):
            said = run([engine, "image", "inspect", "--format", form, name]).stdout.decode().split()
            # What is built on a stand-in inherits its label; ours are ours all the same.
            stand_in = "true" in said[1:] and not name.startswith("fabpilot")
            found[name] = {"mb": round(int(said[0]) / 1e6), "stand_in": stand_in}
    return found
