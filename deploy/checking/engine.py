"""The container engine that is here: Docker with Compose, or podman with podman-compose."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

__all__ = ["CheckError", "Stack", "find_engine", "run", "say"]

_COMMAND_S = 600.0


class CheckError(Exception):
    """Something that was to hold does not; the message says what."""


def say(text: str) -> None:
    """Progress, on standard error: standard output is the report's."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(
    command: Sequence[str],
    *,
    timeout_s: float = _COMMAND_S,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Raises:
        CheckError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
        )
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"{' '.join(command[:4])} … took more than {timeout_s:.0f} s") from error
    if check and done.returncode:
        tail = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()[-8:]
        raise CheckError(f"{' '.join(command[:6])} … ended with {done.returncode}: {tail}")
    return done


def find_engine() -> tuple[str, list[str]]:
    """The engine's command, and Compose's.

    Raises:
        CheckError: there is none that works.
    """
    docker = (["docker", "info"], ["docker", "compose", "version"])
    if shutil.which("docker") and not any(run(c, check=False).returncode for c in docker):
        return "docker", ["docker", "compose"]
    beside = Path(sys.executable).with_name("podman-compose")
    compose = str(beside) if beside.exists() else shutil.which("podman-compose")
    if shutil.which("podman") and compose:
        # podman gives a read-only container a /run of its own, with a mode that keeps PostgreSQL
        # out; Docker does not.
        return "podman", [compose, "--podman-run-args=--read-only-tmpfs=false"]
    raise CheckError(
        "neither Docker with Compose nor podman with podman-compose works here; on Debian:"
        " apt-get install podman runc conmon catatonit netavark aardvark-dns,"
        " pip install podman-compose"
    )


class Stack:
    """One project of Compose, in a folder of its own.

    Args:
        folder: with docker-compose.yml, .env, secrets/ and deploy/.
        project: its name.
        profiles: of COMPOSE_PROFILES.
    """

    def __init__(self, folder: Path, project: str, profiles: Sequence[str]) -> None:
        self.engine, self._compose = find_engine()
        self.folder, self.project = folder, project
        self.profiles = list(profiles)
        plain = yaml.safe_load((folder / "docker-compose.yml").read_text())
        self._services: dict[str, dict[str, object]] = plain["services"]
        self.volumes = sorted(plain["volumes"])

    def version(self) -> dict[str, str]:
        """What the engine says of itself."""
        said = run([self.engine, "--version"]).stdout.decode().strip()
        compose = run([*self._compose, "version"], check=False).stdout.decode().split("\n")[0]
        return {"engine": said, "compose": compose.strip()}

    def compose(self, *arguments: str, check: bool = True, timeout_s: float = _COMMAND_S) -> str:
        """Run Compose; what it said."""
        done = run(
            [*self._compose, "-p", self.project, *arguments],
            cwd=self.folder,
            env={"COMPOSE_PROFILES": ",".join(self.profiles)},
            check=check,
            timeout_s=timeout_s,
        )
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    def services(self) -> list[str]:
        """Services of the profiles, those that others need first."""
        left = {
            name: set(_needs(service))
            for name, service in self._services.items()
            if not service.get("profiles")
            or set(self.profiles) & set(_strings(service.get("profiles")))
        }
        order: list[str] = []
        while left:
            free = sorted(name for name, needs in left.items() if not needs - set(order))
            if not free:
                raise CheckError(f"services wait for each other: {sorted(left)}")
            order += free
            for name in free:
                del left[name]
        return order

    def containers(self, service: str) -> list[str]:
        """Ids of a service's containers, running or not."""
        where = [
            "--filter",
            f"label=com.docker.compose.project={self.project}",
            "--filter",
            f"label=com.docker.compose.service={service}",
        ]
        return run([self.engine, "ps", "-a", "-q", *where]).stdout.decode().split()

    def container(self, service: str) -> str:
        """The id of a service's only (or first) container.

        Raises:
            CheckError: it has none.
        """
        found = self.containers(service)
        if not found:
            raise CheckError(f"service {service} has no container")
        return found[0]

    def inspect(self, container: str) -> dict[str, object]:
        """What the engine knows of a container."""
        told = json.loads(run([self.engine, "inspect", container]).stdout)
        return dict(told[0])

    def healthy(self, container: str) -> bool:
        """Whether the container's own health check passes now."""
        if self.engine == "podman":
            # Without systemd nobody runs the checks; each look is one.
            look = ["podman", "healthcheck", "run", container]
            return run(look, check=False, timeout_s=90).returncode == 0
        state = self.inspect(container)["State"]
        assert isinstance(state, dict)
        return bool(state.get("Health", {}).get("Status") == "healthy")

    def wait_healthy(self, services: Sequence[str], timeout_s: float) -> dict[str, float]:
        """Wait until all containers of services are healthy; seconds each took.

        Raises:
            CheckError: one is not within `timeout_s`; with the end of its log.
        """
        began = time.monotonic()
        took: dict[str, float] = {}
        while len(took) < len(services):
            for service in services:
                if service in took:
                    continue
                found = self.containers(service)
                if found and all(map(self.healthy, found)):
                    took[service] = round(time.monotonic() - began, 1)
                    say(f"{service} is healthy after {took[service]} s")
            if len(took) < len(services) and time.monotonic() - began > timeout_s:
                missing = [service for service in services if service not in took]
                raise CheckError(
                    f"not healthy after {timeout_s:.0f} s: {missing}; {missing[0]} said:"
                    f" {self.logs(missing[0], 5)}"
                )
            time.sleep(1.0)
        return took

    def logs(self, service: str, lines: int) -> str:
        """The end of what a service said."""
        command = [self.engine, "logs", "--tail", str(lines), self.container(service)]
        done = run(command, check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace")[-3000:]

    def lines(self, service: str) -> list[str]:
        """All that a service's first container said."""
        done = run([self.engine, "logs", self.container(service)], check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()

    def up(self, services: Sequence[str], *, recreate: bool = False, timeout_s: float) -> None:
        """Start services in the order they need each other, each once what it needs is healthy.

        Compose does that by itself with Docker. podman does not run health checks, so there it is
        done from here: one service after another, with the same conditions.
        """
        options = ["--force-recreate"] if recreate else []
        if self.engine == "docker":
            self.compose("up", "-d", *options, *services, timeout_s=timeout_s)
            return
        for service in services:
            needs = [name for name in _needs(self._services[service]) if name in services]
            self.wait_healthy(needs, timeout_s)
            self.compose("up", "-d", "--no-deps", *options, service, timeout_s=timeout_s)

    def run_python(self, service: str, source: str, *arguments: str) -> dict[str, object]:
        """Run Python in a service's container; the JSON object it prints."""
        command = [self.engine, "exec", "-i", self.container(service), "python", "-", *arguments]
        said = run(command, stdin=source.encode()).stdout
        return dict(json.loads(said.splitlines()[-1]))

    def process_id(self, container: str) -> int:
        """The container's first process, as this machine numbers it; 0 if it does not run."""
        state = self.inspect(container)["State"]
        assert isinstance(state, dict)
        return int(state.get("Pid") or 0)

    def volume(self, name: str) -> str:
        """The engine's name of a volume of ours."""
        return f"{self.project}_{name}"


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | dict) else []


def _needs(service: Mapping[str, object]) -> list[str]:
    return _strings(service.get("depends_on"))
