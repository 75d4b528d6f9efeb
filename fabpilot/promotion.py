"""Who challenges whom for serving, and what follows from the gate's decision.

1. `find_contest`: the registered challenger, and the champion whose place it may take.
2. `map_gate` or `trace_gate`: both models are judged on the same data, and the gate decides.
3. `settle`: the decision becomes tags on the version, and the aliases move if it passed.

`roll_back` undoes a promotion.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.clock import SystemClock, rfc3339
from contracts.errors import RegistryError
from contracts.model_file import TAG_ACCEPTED
from contracts.trace_model import task_of_name
from fabpilot.settings import Settings
from fabpilot.trail import record
from models.data import MapSet
from models.gate import GateDecision
from models.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    TAG_PROMOTION,
    TAG_ROLLBACK,
    ModelVersion,
    find_version,
    rollback,
    set_tags,
)
from models.registry import promote as move_aliases
from models.traces.data import TraceSet
from serving.mlflow_source import MlflowSource
from serving.repository import Opener, S
from serving.session import open_session
from serving.trace_scorer import trace_opener

__all__ = [
    "Contest",
    "Outcome",
    "find_contest",
    "open_version",
    "roll_back",
    "settle",
]


@dataclass(frozen=True)
class Contest:
    """Who wants whose place; `champion` is None if nothing serves yet."""

    challenger: ModelVersion
    champion: ModelVersion | None


@dataclass(frozen=True)
class Outcome:
    """What came of a contest.

    Attributes:
        verdict: 'promoted', 'refused' or 'forced'.
        serves: the challenger serves from now on.
        version: of the challenger.
        compared_to: version and digest of the champion, or 'none'.
        by: who asked.
        reason: the gate's, or for 'forced' the person's.
        decision: the gate's, with every check.
    """

    model: str
    verdict: str
    serves: bool
    version: int
    compared_to: str
    by: str
    reason: str
    decision: GateDecision


def find_contest(settings: Settings, name: str) -> Contest:
    """The challenger and the champion of a registered model.

    Raises:
        RegistryError: there is no challenger, or the registry does not answer.
    """
    challenger = find_version(settings.mlflow_uri, name, CHALLENGER)
    champion = find_version(settings.mlflow_uri, name, CHAMPION)
    if challenger is None:
        raise RegistryError(
            f"{name} has no challenger to promote; train one with 'fabpilot train',"
            " or set the alias on a version"
        )
    if champion is not None and champion.version == challenger.version:
        raise RegistryError(
            f"version {champion.version} of {name} is champion and challenger at once;"
            " set the alias 'challenger' on the version that shall be judged"
        )
    return Contest(challenger, champion)


def settle(
    settings: Settings,
    contest: Contest,
    decision: GateDecision,
    judged_on: MapSet | TraceSet,
    *,
    by: str,
    force: str = "",
    dry_run: bool = False,
) -> Outcome:
    """Write the decision on the version and move the aliases if it passed.

    The audit trail and the tags come first: should the registry fail in between, a decision without
    a move is seen and repeated; a move without a decision would go unseen.

    Args:
        settings: registry.
        contest: who was judged.
        decision: the gate's.
        judged_on: maps, or runs of a model of traces.
        by: who asked.
        force: promote in spite of the gate, for this reason. A file that cannot be loaded is
            refused all the same: no server would take it.
        dry_run: write and move nothing.

    Raises:
        ConflictError: somebody moved an alias in the meantime.
        RegistryError: the registry does not answer.
    """
    loads = all(check.passed for check in decision.checks if check.name == "file")
    forced = bool(force) and not decision.passed and loads
    verdict = "forced" if forced else "promoted" if decision.passed else "refused"
    challenger, champion = contest.challenger, contest.champion
    outcome = Outcome(
        model=challenger.name,
        verdict=verdict,
        serves=verdict != "refused" and not dry_run,
        version=challenger.version,
        compared_to=f"{champion.version} {champion.sha256}" if champion else "none",
        by=by,
        reason=force if forced else decision.reason,
        decision=decision,
    )
    if dry_run:
        return outcome
    tags = _tags(TAG_PROMOTION, verdict, by, outcome.reason) | {
        f"{TAG_PROMOTION}.compared_to": outcome.compared_to,
        f"{TAG_PROMOTION}.data": _about(judged_on),
        f"{TAG_PROMOTION}.decision": msgspec.json.encode(decision).decode(),
    }
    if forced:
        # Servers take a version that knows fewer patterns only if a person decided so.
        tags[TAG_ACCEPTED] = f"forced by {by}: {force}"
    uri = settings.mlflow_uri
    what = {"promoted": "model.promoted", "refused": "model.refused", "forced": "model.forced"}
    record(
        settings,
        by,
        what[verdict],
        f"{challenger.name} v{challenger.version}",
        outcome.reason,
        before={"champion": champion.version if champion else None},
        after={
            "champion": challenger.version if outcome.serves else (champion and champion.version),
            "sha256": challenger.sha256,
        },
    )
    set_tags(uri, challenger.name, challenger.version, tags)
    if outcome.serves:
        before = champion.version if champion else None
        move_aliases(uri, challenger.name, challenger=challenger.version, champion=before)
    return outcome


def roll_back(settings: Settings, name: str, *, by: str, reason: str) -> ModelVersion:
    """Let the previous champion serve again, once its file has been loaded and tried.

    Raises:
        ModelError: there is none, it cannot be loaded, or the registry does not answer.
    """
    uri = settings.mlflow_uri
    previous = find_version(uri, name, PREVIOUS)
    if previous is None:
        raise RegistryError(f"{name} has no previous champion to go back to")
    champion = find_version(uri, name, CHAMPION)
    if (task := task_of_name(name)) is None:
        open_version(settings, previous, open_session)
    else:
        open_version(settings, previous, trace_opener(task))
    tags = _tags(TAG_ROLLBACK, "served again", by, reason)
    tags[f"{TAG_ROLLBACK}.from"] = str(champion.version) if champion else "none"
    record(
        settings,
        by,
        "model.rolled_back",
        f"{name} v{previous.version}",
        reason,
        before={"champion": champion.version if champion else None},
        after={"champion": previous.version, "sha256": previous.sha256},
    )
    set_tags(uri, name, previous.version, tags)
    return rollback(uri, name, why=f"rolled back to by {by}: {reason}")


def open_version(settings: Settings, version: ModelVersion, opener: Opener[S]) -> S:
    """The version's file, out of the registry: what is cached here says nothing about that.

    Raises:
        RegistryError: it cannot be fetched.
        ModelFileError: it cannot be loaded.
    """
    uri = f"models:/{version.name}/{version.version}"
    with tempfile.TemporaryDirectory(prefix="fabpilot-gate-") as folder:
        source = MlflowSource(settings.mlflow_uri, uri, Path(folder))
        ref = source.resolve()
        return opener(source.fetch(ref), settings.device, sha256=ref.sha256)


def _about(judged_on: MapSet | TraceSet) -> str:
    if isinstance(judged_on, TraceSet):
        return f"{judged_on.name}, {len(judged_on)} runs, {judged_on.fingerprint()}"
    return f"{judged_on.source}, {len(judged_on)} maps, {judged_on.fingerprint()}"


def _tags(prefix: str, verdict: str, by: str, reason: str) -> dict[str, str]:
    return {
        prefix: verdict,
        f"{prefix}.by": by,
        f"{prefix}.at": rfc3339(SystemClock().now_ms()),
        f"{prefix}.reason": reason,
    }
