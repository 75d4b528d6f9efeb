"""Runs under a policy: what they were worth, that policies differ in nothing but their actions."""

import threading
from functools import cache
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from contracts.errors import ConfigError
from fab_sim import ModuleHour, Scenario, WaferTruth, builtin_scenarios, load_scenario
from fabpilot.fab_judge import JudgedRun, PolicyName, judge_fab
from fabpilot.truth_files import TruthFiles

START_MS = 1_767_225_600_000


def shortened(name: str, lots: int, **changes: object) -> Scenario:
    scenario = load_scenario(name)
    made = msgspec.structs.replace(scenario.lots, total=lots)
    return msgspec.structs.replace(scenario, lots=made, **changes)


@cache
def judged(name: str, lots: int, policy: PolicyName, seed: int = 3) -> JudgedRun:
    scenario = shortened(name, lots)
    run = judge_fab(
        scenario,
        sites=scenario.sites or ("kr1",),
        seed=seed,
        policy=policy,
        start_ms=START_MS,
        stop=threading.Event(),
    )
    assert run is not None
    return run


@pytest.mark.parametrize("name", ["demo", "sudden_gas"])
def test_doing_nothing_is_worth_less_than_spc_and_spc_less_than_knowing_all(name: str) -> None:
    none, spc, oracle = (judged(name, 70, policy) for policy in ("none", "spc", "oracle"))
    assert none.value < spc.value < oracle.value
    assert none.excursions[0].stopped_h is None
    assert none.excursions[0].wafers_affected > spc.excursions[0].wafers_affected
    assert spc.excursions[0].detected_h is not None
    assert spc.excursions[0].detected_h > spc.excursions[0].start_h
    assert oracle.excursions[0].wafers_affected <= 2


def test_where_nothing_is_wrong_the_oracle_does_nothing_and_spc_pays_for_its_false_alarms() -> None:
    none, spc, oracle = (judged("quiet", 60, policy) for policy in ("none", "spc", "oracle"))
    assert oracle == msgspec.structs.replace(none, policy="oracle")
    assert spc.good_dies == none.good_dies
    assert spc.spc_alarms > 0
    assert spc.value < none.value
    assert spc.module_availability < none.module_availability


def test_a_policy_changes_nobody_elses_luck() -> None:
    class Keep:
        def __init__(self) -> None:
            self.grids: dict[str, bytes] = {}

        def wafer(self, truth: WaferTruth) -> None:
            if not truth.hits:
                self.grids[truth.substrate_id] = truth.grid.tobytes()

        def hour(self, modules: object) -> None:
            pass

    kept: list[Keep] = []
    policies: tuple[PolicyName, ...] = ("none", "oracle")
    for policy in policies:
        kept.append(Keep())
        judge_fab(
            shortened("demo", 20),
            sites=("kr1",),
            seed=3,
            policy=policy,
            start_ms=START_MS,
            stop=threading.Event(),
            sink=kept[-1],
        )
    both = kept[0].grids.keys() & kept[1].grids.keys()
    assert len(both) > 300
    assert all(kept[0].grids[wafer] == kept[1].grids[wafer] for wafer in both)


def test_the_digest_is_the_seeds_alone() -> None:
    def digest(seed: int, policy: PolicyName = "none") -> dict[str, str]:
        scenario = shortened("demo", 3)
        run = judge_fab(
            scenario,
            sites=("kr1",),
            seed=seed,
            policy=policy,
            start_ms=START_MS,
            stop=threading.Event(),
            digest=True,
        )
        assert run is not None
        return {name: stream.sha256 for name, stream in run.streams.items()}

    first = digest(1)
    assert {"process", "traces", "metrology", "wafer_maps", "equipment"} <= first.keys()
    assert digest(1) == first
    other = digest(2)
    assert all(other[name] != first[name] for name in ("traces", "wafer_maps", "metrology"))


def test_sites_have_their_own_excursions() -> None:
    run = judged("three_drifts_two_sites", 30, "none")
    assert [site.site for site in run.sites] == ["kr1", "us1"]
    assert {(item.site, item.id) for item in run.excursions} <= {
        ("kr1", "kr-helium"),
        ("kr1", "kr-showerhead"),
        ("us1", "us-zone"),
    }
    assert {item.site for item in run.excursions} == {"kr1", "us1"}
    assert run.wafers == 2 * 30 * 25


def test_an_endless_scenario_is_not_judged() -> None:
    endless = load_scenario("demo")
    with pytest.raises(ConfigError, match="--lots"):
        judge_fab(
            endless,
            sites=("kr1",),
            seed=1,
            policy="none",
            start_ms=START_MS,
            stop=threading.Event(),
        )


def test_a_stopped_run_has_no_result() -> None:
    stop = threading.Event()
    stop.set()
    scenario = shortened("demo", 3)
    assert (
        judge_fab(scenario, sites=("kr1",), seed=1, policy="none", start_ms=START_MS, stop=stop)
        is None
    )


def test_the_truth_is_in_parquet_files_and_adds_up(tmp_path: Path) -> None:
    with TruthFiles(tmp_path / "run") as files:
        run = judge_fab(
            shortened("demo", 8),
            sites=("kr1",),
            seed=3,
            policy="none",
            start_ms=START_MS,
            stop=threading.Event(),
            sink=files,
        )
        files.keep()
    assert run is not None
    tables = {path.stem: pq.read_table(path) for path in (tmp_path / "run").iterdir()}
    assert set(tables) == {"wafers", "dies", "hits", "module_hours"}
    wafers = tables["wafers"].to_pydict()
    assert len(wafers["substrate_id"]) == run.wafers == 200
    assert sum(wafers["good_dies"]) == run.good_dies
    assert tables["dies"].num_rows == sum(wafers["dies"]) - sum(wafers["good_dies"])
    killers = set(tables["dies"]["killed_by"].to_pylist())
    assert "chance" in killers
    assert "showerhead_clogging" in killers
    hours = tables["module_hours"].to_pydict()
    sick = [
        (hour, module)
        for hour, module, modes in zip(hours["hour"], hours["module"], hours["modes"], strict=True)
        if "showerhead_clogging" in modes
    ]
    assert {module for _, module in sick} == {"DEP-02/B"}
    assert set(hours["state"]) <= set(
        ("productive", "standby", "scheduled_down", "unscheduled_down")
    )
    assert ModuleHour.__struct_fields__ == tuple(tables["module_hours"].schema.names)


def test_a_run_that_did_not_end_leaves_no_truth_behind(tmp_path: Path) -> None:
    def broken() -> None:
        with TruthFiles(tmp_path / "run"):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        broken()
    assert list((tmp_path / "run").iterdir()) == []


def test_the_truth_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    with TruthFiles(tmp_path) as files:
        files.keep()
    with pytest.raises(ConfigError, match="earlier run"):
        TruthFiles(tmp_path)


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_every_built_in_runs_and_its_excursions_begin(name: str) -> None:
    scenario = load_scenario(name)
    total = scenario.lots.total or 20
    run = judged(name, min(total, 90), "oracle")
    assert run.wafers + run.scrapped_wafers == run.lots * 25
    assert {item.id for item in run.excursions} == {item.id for item in scenario.excursions}
