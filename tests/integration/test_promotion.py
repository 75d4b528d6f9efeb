"""From a registered challenger to the champion, through the gate and a real MLflow store."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from mlflow import MlflowClient
from onnx import helper, numpy_helper

from contracts.arrays import Array
from contracts.errors import ConflictError, DatasetError, RegistryError
from contracts.model_file import METADATA_KEY, TAG_ACCEPTED, decode_card, encode_card
from fabpilot.map_data import part_of
from fabpilot.map_gate import blind, frozen_holdout, judge_map_contest
from fabpilot.promotion import (
    Contest,
    Outcome,
    find_contest,
    roll_back,
    settle,
)
from fabpilot.settings import Settings
from fabpilot.trail import this_user
from models.map_files import load_maps
from models.registry import (
    TAG_PROMOTION,
    TAG_ROLLBACK,
    ModelVersion,
    RunRecord,
    list_versions,
    log_and_register,
    set_alias,
)
from tests.command_line import Home, error_of, npz
from tests.factories import wafer_grid
from tests.model_files import write_model

LABELS = ("None", "Center")
GOOD, BAD = 0.15, 0.5


def write_threshold_model(path: Path, threshold: float, **card_changes: object) -> Path:
    """A model that says Center where more than `threshold` of the wafer's middle failed."""
    write_model(path, labels=LABELS)
    model = onnx.load(path)
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    middle = np.zeros((8, 8, 2), np.float32)
    middle[3:5, 3:5, 1] = 15.0
    weights.CopyFrom(numpy_helper.from_array(middle.reshape(64, 2), "weights"))
    bias = np.array([0.0, -60.0 * threshold], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(bias, "bias"))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    place = list(model.graph.node).index(softmax)
    model.graph.node.insert(place, helper.make_node("Add", ["logits", "bias"], ["shifted"]))
    model.graph.node[place + 1].input[0] = "shifted"
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    card = decode_card(entry.value)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    said = session.run(["probabilities"], {"maps": card.golden_maps.numpy()})[0]
    changes = {"golden_probabilities": Array.of(said), **card_changes}
    entry.value = encode_card(msgspec.structs.replace(card, **changes))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean wafers, and wafers of which 30 to 100 % of the middle failed."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=1_200).astype(np.int8)
    grids = [wafer_grid(24, 24, 0.02, index) for index in range(len(label))]
    for index in np.flatnonzero(label):
        middle = grids[index][8:16, 8:16]
        middle[rng.random(middle.shape) < rng.uniform(0.3, 1.0)] = 2
    return npz(tmp_path_factory.mktemp("data") / "maps.npz", grids, label=label)


@dataclass(frozen=True)
class Registry:
    """One registered model in a store that the tests share."""

    settings: Settings
    data: Path
    name: str

    def register(self, threshold: float, **card_changes: object) -> int:
        """A version as training leaves it; its number."""
        holdout = part_of(load_maps(self.data), "holdout")
        path = write_threshold_model(self.settings.home / "m.onnx", threshold, **card_changes)
        record = RunRecord(
            params={"data_argument": self.data, "seed": 0},
            metrics={"macro_f1": 0.5},
            datasets={"holdout": (self.data.name, holdout.fingerprint(), len(holdout))},
        )
        uri = self.settings.mlflow_uri
        return log_and_register(uri, "test", self.name, path, record).version

    def contest(self) -> Contest:
        return find_contest(self.settings, self.name)

    def promote(self, *, force: str = "", dry_run: bool = False) -> Outcome:
        contest = self.contest()
        maps = frozen_holdout(contest)
        decision = judge_map_contest(self.settings, contest, maps)
        return settle(
            self.settings, contest, decision, maps, by="kim", force=force, dry_run=dry_run
        )

    def point(self, alias: str, version: int) -> None:
        set_alias(self.settings.mlflow_uri, self.name, alias, version)

    def versions(self) -> dict[int, ModelVersion]:
        return {v.version: v for v in list_versions(self.settings.mlflow_uri, self.name)}

    def aliases(self) -> dict[str, int]:
        return {alias: v.version for v in self.versions().values() for alias in v.aliases}

    def tags(self, version: int) -> dict[str, str]:
        return self.versions()[version].tags

    def stored_file(self, version: int) -> Path:
        found = self.versions()[version]
        return Path(found.source.removeprefix("file://")) / found.file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("store"))


@pytest.fixture
def registry(store: Settings, data: Path, request: pytest.FixtureRequest) -> Registry:
    """With a champion that misses faint patterns."""
    registry = Registry(store, data, request.node.name)
    registry.register(BAD)
    return registry


def test_a_better_challenger_serves_and_the_decision_is_on_record(registry: Registry) -> None:
    registry.register(GOOD)
    assert blind(registry.contest(), frozen_holdout(registry.contest()))
    outcome = registry.promote()
    assert (outcome.verdict, outcome.serves, outcome.version) == ("promoted", True, 2)
    assert registry.aliases() == {"champion": 2, "previous": 1}
    said = registry.tags(2)
    assert said[TAG_PROMOTION] == "promoted"
    assert said[f"{TAG_PROMOTION}.by"] == "kim"
    assert said[f"{TAG_PROMOTION}.at"].endswith("Z")
    assert said[f"{TAG_PROMOTION}.compared_to"] == f"1 {registry.versions()[1].sha256}"
    assert said[f"{TAG_PROMOTION}.data"].startswith("maps.npz, ")
    decision = json.loads(said[f"{TAG_PROMOTION}.decision"])
    checks = {check["name"]: check for check in decision["checks"]}
    assert checks["macro_f1"]["value"] > 0
    assert decision["maps"] == outcome.decision.maps > 100
    assert TAG_ACCEPTED not in said


def test_no_better_one_is_refused_which_is_on_record_too(registry: Registry) -> None:
    registry.register(BAD)
    outcome = registry.promote()
    assert (outcome.verdict, outcome.serves) == ("refused", False)
    assert "times as fast" in outcome.reason
    assert registry.aliases() == {"champion": 1, "challenger": 2}
    said = registry.tags(2)
    assert said[TAG_PROMOTION] == "refused"
    assert said[f"{TAG_PROMOTION}.reason"] == outcome.reason


def test_a_worse_one_can_be_forced_with_a_reason(registry: Registry) -> None:
    registry.register(0.9)
    dry = registry.promote(force="drill", dry_run=True)
    assert (dry.verdict, dry.serves) == ("forced", False)
    assert TAG_PROMOTION not in registry.tags(2)
    outcome = registry.promote(force="drill")
    assert (outcome.verdict, outcome.serves, outcome.reason) == ("forced", True, "drill")
    assert not outcome.decision.passed
    said = registry.tags(2)
    assert said[TAG_PROMOTION] == "forced"
    assert "drill" in said[TAG_ACCEPTED]
    assert registry.aliases() == {"champion": 2, "previous": 1}


def test_a_damaged_challenger_never_serves_not_even_by_force(registry: Registry) -> None:
    registry.register(GOOD)
    registry.stored_file(2).write_bytes(b"cut off")
    outcome = registry.promote(force="we are in a hurry")
    assert outcome.verdict == "refused"
    assert "changed or cut off" in outcome.reason
    assert registry.aliases() == {"champion": 1, "challenger": 2}


def test_a_damaged_champion_gives_way_by_force_alone(registry: Registry) -> None:
    registry.register(GOOD)
    registry.stored_file(1).write_bytes(b"cut off")
    assert "champion's file cannot be loaded" in registry.promote().reason
    assert registry.promote(force="it is gone").serves


def test_fewer_patterns_are_refused(registry: Registry) -> None:
    registry.register(GOOD, labels=("None", "Donut"))
    outcome = registry.promote()
    assert "cannot name Center" in outcome.reason
    assert not outcome.serves


def test_a_quantised_file_needs_its_loss_on_record(registry: Registry) -> None:
    registry.register(GOOD, architecture="mapnet_s, int8")
    assert "nothing says what that cost" in registry.promote().reason
    client = MlflowClient(registry.settings.mlflow_uri, registry.settings.mlflow_uri)
    run_id = registry.versions()[2].run_id
    client.log_metric(run_id, "int8_drop_points", 0.31)
    assert "loses 0.31 points" in registry.promote().reason
    client.log_metric(run_id, "int8_drop_points", 0.29)
    assert registry.promote().serves


def test_the_first_model_needs_no_champion(registry: Registry) -> None:
    registry.register(GOOD)
    client = MlflowClient(registry.settings.mlflow_uri, registry.settings.mlflow_uri)
    client.delete_registered_model_alias(registry.name, "champion")
    outcome = registry.promote()
    assert (outcome.serves, outcome.compared_to) == (True, "none")
    assert registry.aliases() == {"champion": 2}


def test_a_rollback_is_one_step_and_on_record(registry: Registry) -> None:
    registry.register(GOOD)
    registry.promote()
    assert (
        roll_back(registry.settings, registry.name, by="lee", reason="too many alarms").version == 1
    )
    assert registry.aliases() == {"champion": 1, "previous": 2}
    said = registry.tags(1)
    assert said[f"{TAG_ROLLBACK}.by"] == "lee"
    assert said[f"{TAG_ROLLBACK}.reason"] == "too many alarms"
    assert said[f"{TAG_ROLLBACK}.from"] == "2"


def test_an_alias_moved_meanwhile_stops_the_promotion(registry: Registry) -> None:
    registry.register(GOOD)
    contest = registry.contest()
    maps = frozen_holdout(contest)
    decision = judge_map_contest(registry.settings, contest, maps)
    registry.point("challenger", registry.register(BAD))
    with pytest.raises(ConflictError, match="promote again"):
        settle(registry.settings, contest, decision, maps, by="kim")
    assert registry.aliases()["champion"] == 1


def test_data_that_cannot_be_had_or_are_others(registry: Registry, tmp_path: Path) -> None:
    registry.register(GOOD)
    contest = registry.contest()
    champion = contest.champion
    assert champion is not None
    others = npz(tmp_path / "others.npz", [wafer_grid(20, 20, 0.1, i) for i in range(100)])
    cases = {
        str(tmp_path / "gone.npz"): "name them with --data",
        str(others): "any more",
        "": "say",
    }
    for named, said in cases.items():
        moved = replace(champion, params={"data_argument": str(named)})
        with pytest.raises(DatasetError, match=said):
            frozen_holdout(replace(contest, champion=moved))
    with pytest.raises(DatasetError, match="cannot be read"):
        frozen_holdout(contest, str(tmp_path / "missing.npz"))
    assert not blind(contest, frozen_holdout(contest, str(others)))


def test_who_challenges_must_be_clear(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="no challenger"):
        registry.contest()
    registry.point("challenger", 1)
    with pytest.raises(RegistryError, match="champion and challenger at once"):
        registry.contest()
    with pytest.raises(RegistryError, match="no previous champion"):
        roll_back(registry.settings, registry.name, by="kim", reason="")


def test_a_promotion_as_its_user_runs_it(registry: Registry) -> None:
    registry.register(GOOD)
    home = Home(registry.settings.home)
    name = ("--name", registry.name)
    dry = home.json("models", "promote", "--dry-run", *name)
    assert (dry["verdict"], dry["serves"]) == ("promoted", False)
    done = home.run("models", "promote", *name)
    assert "Version 2 promoted" in done.stderr
    assert "macro_f1" in done.stdout
    registry.register(0.9)
    refused = home.run("models", "promote", "--json", *name, code=1)
    assert json.loads(refused.stdout)["verdict"] == "refused"
    assert "Refused: " in error_of(refused)
    assert home.json("models", "rollback", "--reason", "drill", *name)["version"] == 1
    assert registry.tags(3)[f"{TAG_PROMOTION}.by"] == this_user()
