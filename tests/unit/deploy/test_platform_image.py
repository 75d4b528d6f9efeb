"""The platform's image has no torch: what runs in it must not need what only the trainer has."""

import re
import subprocess
import sys
import tomllib

import pytest

from tests.deploy_files import ROOT

# Modules of packages that the extras of the platform's image do not bring.
ABSENT = ("torch", "torchvision", "timm", "matplotlib", "sklearn", "onnxscript", "pandas")
_SOURCE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from fabpilot.cli import build_app
build_app(["process", "control", "console", "sim", "log", "models", "doctor", "replay"])
"""


def test_its_commands_need_nothing_else() -> None:
    command = [sys.executable, "-c", _SOURCE.format(absent=ABSENT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_its_extras_bring_one_onnx_runtime_and_nothing_of_training() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()

    def packages(names: str) -> set[str]:
        found: set[str] = set()
        for name in names.split(","):
            for asked in extras[name]:
                inner = re.fullmatch(r"fabpilot\[(.*)\]", asked)
                found |= packages(inner[1]) if inner else {re.split(r"[\[<>=; ]", asked)[0]}
        return found

    for target, runtime in (("platform", "onnxruntime"), ("gpu", "onnxruntime-gpu")):
        asked = re.search(rf"AS {target}-libraries\n(?:.*\n)+?.*'\.\[(.*)\]'", dockerfile)
        assert asked is not None
        brought = packages(asked[1])
        assert {p for p in brought if p.startswith("onnxruntime")} == {runtime}
        assert not brought & {"torch", "timm", "torchvision", "mlflow", "matplotlib"}


@pytest.mark.parametrize("package", ["contracts", "fab_sim", "streaming", "models", "serving"])
def test_every_package_is_copied_into_the_images(package: str) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert f"COPY {package} {package}\n" in dockerfile
    assert f"!{package}\n" in (ROOT / ".dockerignore").read_text()
