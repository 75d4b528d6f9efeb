"""Requests made up from the console's own OpenAPI description, valid and not.

They come from people who may and people who may not: none may break the console, none may change
anything, and none may go unseen.
"""

import collections
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, func, select

from console import ConsoleDeps, ConsoleServer, Site, create_app, tables
from console.access import accounts, tokens
from console.access.limits import Limit
from console.access.policy import Access
from console.access.roles import RIGHTS, Role
from console.access.trail import verify
from contracts.clock import SystemClock
from contracts.errors import ConfigError
from fabpilot.benchmarks.console_data import SITE, fill
from streaming.database import open_engine

__all__ = ["FuzzBench", "fuzz"]

# Of one operation at a time, so that a short run meets all of them.
_AT_ONCE = 20
_TIMEOUT_S = 20.0
_DAY_MS = 86_400_000
# Rows of these change when anybody does anything.
_WATCHED = ("alert_states", "actions", "labels", "timeline", "dead_letters", "changes")


class FuzzBench(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        requests: sent and answered.
        operations: of the description.
        unsendable: made up, but not to be written as HTTP at all.
        by_status: answers by status.
        by_caller: answers by who asked.
        server_errors: method, path and status of answers from 500 on; must be empty.
        refused: answers from 400 on.
        refused_logged: lines about them in the console's log; must be as many.
        actions_taken: rows that were added or changed where decisions leave rows; must be 0.
        audit_intact: the audit trail holds.
        seconds: it took.
    """

    requests: int
    operations: int
    unsendable: int
    by_status: dict[str, int]
    by_caller: dict[str, int]
    server_errors: list[str]
    refused: int
    refused_logged: int
    actions_taken: int
    audit_intact: bool
    seconds: float


def fuzz(
    requests: int, seed: int, *, wafers: int = 50, on_progress: Callable[[int], None] | None = None
) -> FuzzBench:
    """Send so many requests to a console with accounts and the data of a few wafers.

    Args:
        requests: how many.
        seed: of everything that is made up.
        wafers: how many the console knows.
        on_progress: called with how many are done.

    Raises:
        ConfigError: schemathesis is not installed.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fabpilot-fuzz-") as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'console.db'}")
        try:
            fill(engine, wafers)
            callers = _callers(engine)
            before = _state(engine)
            lines: list[tuple[str, int]] = []
            with _listening(lines), _console(engine) as (server, description):
                tally = _Tally(on_progress)
                _send_all(
                    f"http://127.0.0.1:{server.port}", description, callers, requests, seed, tally
                )
            with engine.begin() as connection:
                intact = not verify(connection).fault
            changed = sum(a != b for a, b in zip(before, _state(engine), strict=True))
        finally:
            engine.dispose()
    refused = sum(count for status, count in tally.by_status.items() if int(status) >= 400)
    return FuzzBench(
        requests=tally.done,
        operations=tally.operations,
        unsendable=tally.unsendable,
        by_status=dict(sorted(tally.by_status.items())),
        by_caller=dict(tally.by_caller),
        server_errors=tally.server_errors,
        refused=refused,
        refused_logged=sum(event == "refused" and status >= 400 for event, status in lines),
        actions_taken=changed,
        audit_intact=intact,
        seconds=time.monotonic() - began,
    )


class _Tally:
    def __init__(self, on_progress: Callable[[int], None] | None) -> None:
        self.done = self.unsendable = self.operations = 0
        self.by_status: collections.Counter[str] = collections.Counter()
        self.by_caller: collections.Counter[str] = collections.Counter()
        self.server_errors: list[str] = []
        self._on_progress = on_progress

    def note(self, caller: str, method: str, url: str, status: int) -> None:
        self.done += 1
        self.by_status[str(status)] += 1
        self.by_caller[caller] += 1
        if status >= 500:
            self.server_errors.append(f"{status} {method} {url[:300]}")
        if self._on_progress is not None:
            self._on_progress(self.done)


def _callers(engine: Engine) -> dict[str, dict[str, str]]:
    """Header fields of everybody who asks. Even those who may decide know no alert's id."""
    now_ms = SystemClock().now_ms()
    hashed = accounts.hash_password(secrets.token_hex(16))

    def token(name: str, role: Role, made_ms: int) -> dict[str, str]:
        with engine.begin() as connection:
            accounts.add(connection, name, role, hashed, by="bench", now_ms=made_ms)
            _, secret = tokens.add(
                connection, name, RIGHTS[role], days=1, purpose="fuzz", by="bench", now_ms=made_ms
            )
        return {"authorization": f"Bearer {secret}"}

    return {
        "nobody": {},
        "forged": {"authorization": f"Bearer fabpilot_{secrets.token_urlsafe(32)}"},
        "forged session": {"cookie": f"fabpilot_session={secrets.token_urlsafe(32)}"},
        "expired": token("former", Role.ENGINEER, now_ms - 2 * _DAY_MS),
        "viewer": token("viewer", Role.VIEWER, now_ms),
        "engineer": token("engineer", Role.ENGINEER, now_ms),
        "operator": token("operator", Role.OPERATOR, now_ms),
    }


@contextmanager
def _console(engine: Engine) -> Iterator[tuple[ConsoleServer, dict[str, Any]]]:
    app = create_app(
        ConsoleDeps(engine=engine, sites=(Site(SITE),), access=Access(auth="local"), version="0")
    )
    limits = app.state.services.limits
    # What is counted has its own tests; here every request shall reach what is behind.
    limits.token = limits.refused = Limit(1e9, 1e9)
    server = ConsoleServer(app, port=0)
    thread = threading.Thread(target=server.run, name="console", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield server, app.openapi()
    finally:
        server.should_exit = True
        thread.join(10)


def _send_all(
    base: str,
    description: dict[str, Any],
    callers: dict[str, dict[str, str]],
    wanted: int,
    seed: int,
    tally: _Tally,
) -> None:
    try:
        import hypothesis
        import requests
        import schemathesis
        from hypothesis import strategies as st
        from schemathesis import GenerationMode
    except ImportError as error:
        raise ConfigError("bench fuzz needs the extra dev: pip install 'fabpilot[dev]'") from error
    schema = schemathesis.openapi.from_dict(description)
    # The description is our own: what cannot be read in it is an error here.
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    tally.operations = len(operations)
    session = requests.Session()
    session.trust_env = False
    who = st.sampled_from(sorted(callers))

    def one(case: Any, caller: str) -> None:
        kwargs = case.as_transport_kwargs(base_url=base)
        headers = {str(k): v for k, v in dict(kwargs.pop("headers", None) or {}).items()}
        kwargs["headers"] = headers | callers[caller]
        if "cookie" in callers[caller]:
            kwargs.pop("cookies", None)
        try:
            answer = session.request(
                **kwargs, timeout=_TIMEOUT_S, allow_redirects=False, stream=True
            )
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, ValueError):
            tally.unsendable += 1
            return
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            _ = answer.content
        answer.close()
        tally.note(caller, str(kwargs["method"]), str(kwargs["url"]), answer.status_code)

    round_ = 0
    while tally.done < wanted:
        for number, operation in enumerate(operations):
            left = wanted - tally.done
            if left <= 0:
                break
            mode = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[(round_ + number) % 2]
            run = hypothesis.given(operation.as_strategy(generation_mode=mode), who)(one)
            run = hypothesis.settings(
                max_examples=min(_AT_ONCE, left),
                database=None,
                deadline=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )(run)
            try:
                hypothesis.seed(seed * 1_000_003 + round_ * 1009 + number)(run)()
            except hypothesis.errors.Unsatisfiable:
                # Nothing of this operation can be wrong: it takes nothing.
                continue
        round_ += 1


def _state(engine: Engine) -> list[tuple[str, Any]]:
    """What decisions would have changed, as figures that differ if anything did."""
    with engine.begin() as connection:
        found = [(name, _digest(connection, name)) for name in _WATCHED]
        audit = tables.audit
        decided = select(func.count()).where(
            audit.c.what.not_like("account.%"), audit.c.what.not_like("token.%")
        )
        found.append(("audit", connection.execute(decided).scalar_one()))
    return found


def _digest(connection: Connection, name: str) -> int:
    table = tables.metadata.tables[f"console_{name}"]
    rows = connection.execute(select(table).order_by(*table.primary_key.columns))
    return hash(tuple(tuple(row) for row in rows))


@contextmanager
def _listening(lines: list[tuple[str, int]]) -> Iterator[None]:
    """What the console logs of requests, instead of printing it."""
    before = structlog.get_config()

    def keep(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
        lines.append((str(event.get("event")), int(event.get("status", 0))))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    try:
        yield
    finally:
        structlog.configure(**before)
