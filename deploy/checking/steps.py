"""The steps of a check, each giving its part of the report."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from checking.console import get_json, panel_queries, prometheus, sign_in, status_of
from checking.engine import CheckError, Stack, run, say

__all__ = ["Steps", "prepare"]

ROOT = Path(__file__).resolve().parents[2]
_COUNT = (Path(__file__).parent / "count.py").read_text()
# What a start may take on a busy machine of two cores.
_START_S = 420.0
_PORTS = ("CONSOLE_PORT", "MLFLOW_PORT", "GRAFANA_PORT")

Report = dict[str, Any]


def prepare(folder: Path, tag: str, speed: float) -> dict[str, int]:
    """A project of Compose in a folder of its own, with secrets and free ports; gives the ports."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "docker-compose.yml", folder)
    for part in ("postgres", "prometheus", "grafana"):
        shutil.copytree(ROOT / "deploy" / part, folder / "deploy" / part)
    run([sys.executable, str(ROOT / "deploy" / "make_secrets.py"), "--into", str(folder)])
    probes = [socket.socket() for _ in _PORTS]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = {name: probe.getsockname()[1] for name, probe in zip(_PORTS, probes, strict=True)}
    for probe in probes:
        probe.close()
    lines = [f"{name}={port}\n" for name, port in ports.items()]
    with (folder / ".env").open("a") as file:
        file.write("".join(lines) + f"FAB_SPEED={speed:g}\n")
    _set_tag(folder, tag)
    return ports


def _set_tag(folder: Path, tag: str) -> None:
    lines = (folder / ".env").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("FABPILOT_TAG=")]
    (folder / ".env").write_text("\n".join([f"FABPILOT_TAG={tag}", *kept]) + "\n")


class Steps:
    """A stack under check.

    Args:
        stack: the project, not started.
        ports: published ones by their setting.
    """

    def __init__(self, stack: Stack, ports: Mapping[str, int]) -> None:
        self.stack = stack
        self._ports = ports
        self._token: dict[str, str] | None = None
        # What others need and what the platform is made of; the synthetic fab comes last.
        self.services = stack.services()

    def refuses_without_secrets(self) -> Report:
        """Nothing starts before `make secrets`."""
        aside = self.stack.folder / "env-aside"
        (self.stack.folder / ".env").rename(aside)
        try:
            said = self.stack.compose("config", check=False)
        finally:
            aside.rename(self.stack.folder / ".env")
        if "make secrets" not in said:
            raise CheckError(f"Compose accepts a project without secrets: {said[-300:]}")
        modes = {
            str(path.relative_to(self.stack.folder)): oct(path.stat().st_mode & 0o777)
            for path in (self.stack.folder / ".env", self.stack.folder / "secrets")
        }
        return {"refused": True, "modes": modes}

    def start(self, model: Callable[[str, str, Path], Report]) -> Report:
        """Everything comes up, a model is registered meanwhile, and all are healthy."""
        began = time.monotonic()
        fed = [name for name in self.services if name not in ("processor", "fab")]
        self.stack.up(fed, timeout_s=_START_S)
        took = self.stack.wait_healthy(fed, _START_S)
        url = f"http://127.0.0.1:{self._ports['MLFLOW_PORT']}"
        # A first model, as an operator would register one from elsewhere.
        registered = model(url, "trainer", self.stack.folder / "secrets" / "mlflow_trainer")
        self.stack.up(["processor", "fab"], timeout_s=_START_S)
        took |= self.stack.wait_healthy(["processor", "fab"], _START_S)
        return {
            "model": registered,
            "healthy": sorted(took),
            "seconds": round(time.monotonic() - began, 1),
        }

    def locked_down(self) -> Report:
        """What the engine says of each container, and who gets in without an account."""
        found: Report = {}
        for service in self.services:
            told = self.stack.inspect(self.stack.container(service))
            host, config = told["HostConfig"], told["Config"]
            assert isinstance(host, dict)
            assert isinstance(config, dict)
            ports = [
                bound["HostIp"]
                for places in (host.get("PortBindings") or {}).values()
                for bound in places or []
            ]
            found[service] = {
                "user": config.get("User"),
                "read_only": host.get("ReadonlyRootfs"),
                "no_new_privileges": "no-new-privileges" in str(host.get("SecurityOpt")),
                "capabilities": told.get("EffectiveCaps") or [],
                "memory_limit_mb": round(int(host.get("Memory") or 0) / 2**20),
                "published_at": ports,
            }
        bad = [
            name
            for name, one in found.items()
            if str(one["user"]).split(":")[0] in ("", "0", "root")
            or not one["read_only"]
            or not one["no_new_privileges"]
            or one["capabilities"]
            or not one["memory_limit_mb"]
            or set(one["published_at"]) - {"127.0.0.1"}
        ]
        if bad:
            raise CheckError(f"not locked down: { {name: found[name] for name in bad} }")
        console = f"http://127.0.0.1:{self._ports['CONSOLE_PORT']}"
        closed = {
            "console": status_of(f"{console}/api/v1/alerts"),
            "mlflow": status_of(
                f"http://127.0.0.1:{self._ports['MLFLOW_PORT']}/api/2.0/mlflow/experiments/search"
            ),
            "grafana": status_of(f"http://127.0.0.1:{self._ports['GRAFANA_PORT']}/api/search"),
        }
        if set(closed.values()) != {401}:
            raise CheckError(f"somebody without an account gets in: {closed}")
        # The first account, with the password that `make secrets` wrote.
        sign_in(console, "admin", (self.stack.folder / "secrets" / "console_admin").read_text())
        # The services' own network leads nowhere.
        out = self.stack.run_python(
            "controller",
            "import json, socket\n"
            "try:\n    socket.create_connection(('192.0.2.1', 80), 3); found = 'connected'\n"
            "except OSError as error: found = type(error).__name__ + ': ' + str(error)\n"
            "print(json.dumps({'out': found}))\n",
        )["out"]
        if "unreachable" not in str(out):
            raise CheckError(f"a service of the inner network can reach out: {out}")
        answers = {"without_account": closed, "signed_in": "admin"}
        return {"containers": found, **answers, "way_out": out}

    def count(self) -> Report:
        """What is on the log."""
        return self.stack.run_python("console", _COUNT)

    def wafers_and_alert(self, wafers: int, timeout_s: float) -> Report:
        """Wafers come in, predictions go out, an alert is on the console."""
        began = time.monotonic()
        base = f"http://127.0.0.1:{self._ports['CONSOLE_PORT']}/api/v1"
        counted: Report = {}
        alerts: list[Any] = []
        while time.monotonic() - began < timeout_s:
            counted = self.count()
            # A machine that has just started a whole stack may keep a page waiting.
            with contextlib.suppress(CheckError):
                alerts = get_json(f"{base}/alerts", self._headers())["items"]
            if counted["predicted"] >= wafers and alerts:
                break
            time.sleep(5.0)
        else:
            raise CheckError(f"after {timeout_s:.0f} s: {counted}, {len(alerts)} alerts shown")
        strip = get_json(f"{base}/strip", self._headers())
        return {
            "on_the_log": counted,
            "alerts_on_the_console": len(alerts),
            "first_alert": alerts[0]["headline"],
            "wafers_on_the_console": strip["wafers"],
            "seconds": round(time.monotonic() - began, 1),
        }

    def one_wafer(self) -> Report:
        """The lines about one wafer of an alert, found in the logs by its trace id."""
        said = [line for line in self.stack.lines("controller") if '"trace_ids"' in line]
        if not said:
            return {"found": False, "why": "the controller has said nothing of an alert"}
        # Of an alert about a pattern if there is one: such wafers the processor speaks of too.
        chosen = next((line for line in said if '"kind": "pattern"' in line), said[-1])
        wafer = json.loads(chosen)["trace_ids"][-1]
        lines = {
            service: sum(wafer in line for line in self.stack.lines(service))
            for service in ("fab", "processor", "controller")
        }
        if not (lines["fab"] and lines["controller"]):
            raise CheckError(f"wafer {wafer} of an alert is not in the logs: {lines}")
        # A processor speaks of wafers alone that look suspicious to the model; a fault that only
        # the traces show is none of them.
        return {"found": True, "trace_id": wafer, "lines": lines}

    def watched(self) -> Report:
        """Prometheus reaches every process; each panel's question has an answer."""
        deadline = time.monotonic() + 120
        while True:
            up = prometheus(self.stack, "query", query='up{job="fabpilot"}')["result"]
            seen = {one["metric"]["service"]: one["value"][1] for one in up}
            if set(seen.values()) == {"1"} and {"processor", "controller", "console", "fab"} <= set(
                seen
            ):
                break
            if time.monotonic() > deadline:
                raise CheckError(f"Prometheus does not reach every process: {seen}")
            time.sleep(5.0)
        rules = prometheus(self.stack, "rules")["groups"]
        empty = []
        queries = panel_queries(ROOT / "deploy" / "grafana" / "dashboards")
        for place, query in queries:
            if not prometheus(self.stack, "query", query=query)["result"]:
                empty.append(place)
        return {
            "up": seen,
            "rules": sum(len(group["rules"]) for group in rules),
            "rules_in_error": [
                rule["name"]
                for group in rules
                for rule in group["rules"]
                if rule["health"] == "err"
            ],
            "panel_queries": len(queries),
            "panels_without_data_yet": empty,
        }

    def kills(self) -> Report:
        """Each service's first process is killed; the engine starts it again, and it recovers."""
        found: Report = {}
        for service in self.services:
            say(f"killing {service}")
            container = self.stack.container(service)
            pid = self.stack.process_id(container)
            how = "SIGKILL to its process"
            try:
                os.kill(pid, signal.SIGKILL)
            except (PermissionError, ProcessLookupError):
                # An engine on another machine, or not ours to kill in: then the engine kills, which
                # counts as a stop, so it must be told to start it again.
                how = "killed and started by the engine"
                run([self.stack.engine, "kill", container])
                run([self.stack.engine, "start", container])
            began = time.monotonic()
            while self.stack.process_id(container) in (0, pid):
                if time.monotonic() - began > 120:
                    raise CheckError(f"{service} was not started again within 120 s")
                time.sleep(0.5)
            # What depends on it must be well again too.
            took = self.stack.wait_healthy([service], _START_S)[service]
            found[service] = {"how": how, "healthy_again_after_s": took}
        after = self.stack.wait_healthy(self.services, _START_S)
        return {"services": found, "all_healthy_again_after_s": max(after.values())}

    def roll(self, tag: str) -> Report:
        """All images of ours change to `tag`, service by service."""
        _set_tag(self.stack.folder, tag)
        began = time.monotonic()
        # Those that serve before those that feed them; what others make stays as it is.
        ours = [
            s for s in self.services if s in ("mlflow", "controller", "console", "processor", "fab")
        ]
        for service in ours:
            self.stack.up([service], recreate=True, timeout_s=_START_S)
            self.stack.wait_healthy([service], _START_S)
        say_version = "import json, fabpilot; print(json.dumps({'version': fabpilot.__version__}))"
        versions = {
            service: self.stack.run_python(service, say_version)["version"]
            for service in ours
            if service != "mlflow"
        }
        if set(versions.values()) != {tag}:
            raise CheckError(f"after changing to {tag} the processes are {versions}")
        return {"versions": versions, "seconds": round(time.monotonic() - began, 1)}

    def scaled(self, processors: int) -> Report:
        """Several processors share the work; then one again."""
        options = ("--scale", f"processor={processors}", "--no-deps", "processor")
        self.stack.compose("up", "-d", *options)
        self.stack.wait_healthy(["processor"], _START_S)
        count = len(self.stack.containers("processor"))
        if count != processors:
            raise CheckError(f"asked for {processors} processors, {count} run")
        before = self.count()["predicted"]
        time.sleep(20)
        after = self.count()
        for container in self.stack.containers("processor")[1:]:
            run([self.stack.engine, "rm", "-f", container])
        return {"processors": count, "scored_meanwhile": after["predicted"] - before}

    def drained(self, timeout_s: float) -> Report:
        """The fab stops; what it made is predicted to the last wafer, each once."""
        self.stack.compose("stop", "fab")
        began = time.monotonic()
        counted = self.count()
        while counted["missing"] and time.monotonic() - began < timeout_s:
            time.sleep(2.0)
            counted = self.count()
        wrong = {
            name: counted[name]
            for name in ("missing", "predicted_twice", "alerts_or_actions_twice", "dead_letters")
            if counted[name]
        }
        if wrong:
            raise CheckError(f"lost or doubled: {wrong} of {counted}")
        return counted

    def backup_and_restore(self, aside: Path, tag: str) -> Report:
        """What is kept moves into an empty stack, and is all there; then the fab goes on.

        `_save` and `_load` move the volumes of a stack that stands still: `fabpilot backup` copies
        a site on one machine, and neither a Kafka nor a registry on a server (docs/deploy.md).
        """
        before = self.count()
        shown = self._alert_ids()
        self.stack.compose("stop")
        size = self._save(aside, tag)
        self.stack.compose("down", "-v")
        self._load(aside, tag)
        self.stack.up(self.services, timeout_s=_START_S)
        self.stack.wait_healthy(self.services, _START_S)
        after = self.count()
        lost = {name: (before[name], after[name]) for name in before if after[name] < before[name]}
        if lost or not shown <= self._alert_ids():
            raise CheckError(f"lost in the restore: {lost or 'alerts of the console'}")
        deadline = time.monotonic() + 180
        while (now := self.count())["predicted"] <= after["predicted"]:
            if time.monotonic() > deadline:
                raise CheckError("no new prediction after the restore")
            time.sleep(3.0)
        return {"mb": round(size / 1e6, 1), "before": before, "after": after, "later": now}

    def _headers(self) -> dict[str, str]:
        """What the console wants of a client: a token, where it has accounts."""
        if self._token is None:
            make = ["fabpilot", "accounts", "token", "add", "admin", "--scope", "look", "--json"]
            command = [self.stack.engine, "exec", self.stack.container("console"), *make]
            done = run(command, check=False)
            # A version without accounts has no such command, and asks nobody.
            self._token = (
                {"authorization": f"Bearer {json.loads(done.stdout.splitlines()[-1])['token']}"}
                if not done.returncode
                else {}
            )
        return self._token

    def _alert_ids(self) -> set[str]:
        base = f"http://127.0.0.1:{self._ports['CONSOLE_PORT']}/api/v1"
        return {one["alert_id"] for one in get_json(f"{base}/alerts", self._headers())["items"]}

    def _save(self, aside: Path, tag: str) -> int:
        """Every volume as a tar file; their size in bytes."""
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        for name in self.stack.volumes:
            self._tar(name, aside, tag, "-cf")
        return sum(file.stat().st_size for file in aside.iterdir())

    def _load(self, aside: Path, tag: str) -> None:
        for name in self.stack.volumes:
            run([self.stack.engine, "volume", "create", *self._labels(name)])
            self._tar(name, aside, tag, "-xpf")

    def _labels(self, name: str) -> Sequence[str]:
        # As Compose makes it, so that Compose takes it for its own.
        project = f"com.docker.compose.project={self.stack.project}"
        labels = ["--label", project, "--label", f"com.docker.compose.volume={name}"]
        return [*labels, self.stack.volume(name)]

    def _tar(self, name: str, aside: Path, tag: str, how: str) -> None:
        mounts = ["-v", f"{self.stack.volume(name)}:/volume", "-v", f"{aside}:/backup"]
        tar = ["tar", "--numeric-owner", "-C", "/volume", how, f"/backup/{name}.tar"]
        image = f"fabpilot-platform:{tag}"
        files = ["."] if how == "-cf" else []
        command = [self.stack.engine, "run", "--rm", "--user", "0", "--network", "none"]
        run([*command, *mounts, image, *tar, *files])

    def down(self) -> None:
        """Everything away, volumes included; also what a check that was killed has left."""
        engine = self.stack.engine
        with contextlib.suppress(CheckError):
            self.stack.compose("down", "-v")
        for service in self.services:
            for container in self.stack.containers(service):
                run([engine, "rm", "-f", container], check=False)
        names = [self.stack.volume(name) for name in self.stack.volumes]
        run([engine, "volume", "rm", "-f", *names], check=False)
