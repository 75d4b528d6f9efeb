"""The judgement of namings, and scenarios drawn by chance."""

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from contracts.errors import ConfigError
from contracts.events import Metrology
from control.policy import load_policy
from fab_sim import Fab, Scenario, TrueExcursion, load_scenario
from fab_sim.modes import MODES
from fabpilot.benchmarks.control import measure_control
from fabpilot.benchmarks.unseen import unseen_scenario
from fabpilot.commands import bench_control
from fabpilot.fab_naming import NamingWatch
from fabpilot.fab_policies import AdvisorPolicy
from fabpilot.fab_policies.advisor import Naming
from tests.control_streams import SITE, START_MS, process

HOUR_MS = 3_600_000
MODULE = "ETCH-01/A"


def excursion(**changes: object) -> TrueExcursion:
    base = TrueExcursion(
        excursion_id="x",
        mode="rf_match_drift",
        equipment_id="ETCH-01",
        module_id="A",
        module=MODULE,
        pattern="Edge-Ring",
        onset_ms=START_MS,
        first_affected_ms=START_MS + 2 * HOUR_MS,
        affected=5,
        cleared_ms=START_MS + 9 * HOUR_MS,
    )
    return msgspec.structs.replace(base, **changes)


def named(hours: float, mode: str = "rf_match_drift", module: str = MODULE) -> Naming:
    return Naming(START_MS + int(hours * HOUR_MS), module, mode)


def watched() -> NamingWatch:
    """A wafer an hour enters the line and is treated at once; each is measured five hours later."""
    watch = NamingWatch()
    for hour in range(12):
        at, wafer = START_MS + hour * HOUR_MS, f"L.{hour:02d}"
        watch.saw([process(p, wafer, "L", MODULE, "S", 0, at) for p in ("started", "completed")])
        watch.saw(
            [
                Metrology(
                    event_id=wafer,
                    site=SITE,
                    time_ms=at + 5 * HOUR_MS,
                    lot_id="L",
                    substrate_id=wafer,
                    slot=1,
                    equipment_id="MET-01",
                    step="S",
                    parameter="cd_nm",
                    x_mm=(0.0,),
                    y_mm=(0.0,),
                    values=(1.0,),
                )
            ]
        )
    return watch


def test_named_rightly_and_so_many_wafers_before_metrology() -> None:
    item = excursion()
    judged = watched().judge(item, [item], [named(3.5), named(4.0)])
    # The first spoilt wafer, of hour 2, is measured at hour 7: those of hours 4, 5 and 6 enter.
    assert judged == (True, named(3.5).time_ms, "rf_match_drift", 3)
    late = watched().judge(item, [item], [named(8.5)])
    assert late.wafers_ahead == -2


def test_wrong_names_places_and_times_do_not_count() -> None:
    item, watch = excursion(), watched()
    assert not watch.judge(item, [item], []).right
    assert not watch.judge(item, [item], [named(-1.0)]).right
    assert not watch.judge(item, [item], [named(3.0, module="ETCH-01/B")]).right
    wrong_first = watch.judge(item, [item], [named(3.0, "process_abort"), named(3.1)])
    assert (wrong_first.right, wrong_first.called) == (False, "process_abort")
    # Two on one module at a time: naming the other one first is no mistake.
    other = excursion(excursion_id="y", mode="process_abort")
    namings = [named(3.0, "process_abort"), named(3.1)]
    assert watch.judge(item, [item, other], namings).right
    unharmed = excursion(first_affected_ms=None, affected=0)
    assert watch.judge(unharmed, [unharmed], [named(3.0)]).wafers_ahead is None


def test_scenarios_drawn_by_chance_are_valid_and_differ() -> None:
    drawn = [unseen_scenario(seed) for seed in range(30)]
    assert len({msgspec.json.encode(scenario) for scenario in drawn}) == 30
    for scenario in drawn:
        for item in scenario.excursions:
            kind = next(tool.kind for tool in scenario.equipment if tool.id == item.equipment)
            assert kind in MODES[item.mode].kinds
        Fab(scenario, site=scenario.sites[0], seed=1, start_ms=START_MS)
    assert len({item.mode for scenario in drawn for item in scenario.excursions}) >= 12


def test_the_four_policies_run_on_the_same_chance() -> None:
    scenario = unseen_scenario(2)
    tiny = msgspec.structs.replace(
        scenario,
        sites=("kr1",),
        lots=msgspec.structs.replace(scenario.lots, total=1),
        sampling=msgspec.structs.replace(scenario.sampling, trace_rows=40),
        reliability=msgspec.structs.replace(scenario.reliability, breakdown_wafers=None),
        excursions=(),
        sensor_faults=(),
    )
    seen: list[str] = []
    result = measure_control(
        [(tiny, 7, True)],
        lambda site: AdvisorPolicy(load_policy(), site, None),
        start_ms=START_MS,
        stop=threading.Event(),
        on_run=seen.append,
    )
    assert result is not None
    assert len(seen) == 4
    assert len(set(result.runs[0].value.values())) == 1
    assert (result.captured, result.needless_stops, result.quiet_needless_stops) == (None, 0, 0)


def test_a_folder_of_scenarios_is_run_file_by_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plans: list[list[str]] = []

    def note(plan: Sequence[tuple[Scenario, int, bool]], *_: object, **__: object) -> None:
        plans.append([f"{scenario.name} {seed}" for scenario, seed, _ in plan])

    monkeypatch.setattr(bench_control, "measure_control", note)
    for name in ("two", "one"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ndescription: Own.\n")
    bench_control.control(f"quiet,{tmp_path}", seeds="7", unseen=0, lots=3)
    bench_control.control(str(tmp_path / "two.yaml"), seeds="7", unseen=0)
    assert plans == [["quiet 7", "one 7", "two 7"], ["two 7"]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no \.yaml file"):
        bench_control.control(str(tmp_path / "empty"), unseen=0)


def test_the_hard_scenarios_are_scenarios() -> None:
    files = sorted(Path("bench/hard_scenarios").glob("*.yaml"))
    assert len(files) > 10
    assert [load_scenario(file).name for file in files] == [file.stem for file in files]
