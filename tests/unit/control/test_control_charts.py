import msgspec
import numpy as np
import pytest

from contracts.arrays import Array
from contracts.events import Trace
from control.chart_table import ChartTable
from control.charts import MAX_CELLS, ChartGroup, Verdict
from control.faults import FaultWatch
from control.policy import load_policy
from control.state import ControlState
from control.traces import STATISTICS, summarise
from tests.factories import sample_events

DETECTION = load_policy().detection
MODULES = ("E-1/A", "E-1/B", "E-2/A", "E-2/B")
VARIABLES = ("power_w", "pressure_pa")


class Tool:
    """Four modules with matching offsets, charted wafer by wafer."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.group = ChartGroup("R", DETECTION)
        self.offsets = 2.0 * self.rng.normal(size=(4, 2))
        self.time = 0

    def wafer(self, module: int, shift: float = 0.0, noise: float = 0.3) -> Verdict | None:
        self.time += 1000
        level = np.array([900.0, 2.6]) + np.array([3.0, 0.02]) * (
            self.offsets[module] + self.rng.normal(size=2) + np.array([shift, 0.0])
        )
        values = level + noise * np.array([3.0, 0.02]) * self.rng.normal(size=(40, 2))
        summary = summarise(values.astype(np.float32))
        return self.group.update(MODULES[module], VARIABLES, summary, self.time)

    def run(self, wafers: int, shifts: dict[int, float] | None = None) -> list[Verdict]:
        out = []
        for _ in range(wafers):
            for module in range(4):
                verdict = self.wafer(module, (shifts or {}).get(module, 0.0))
                if verdict is not None and verdict.shifts:
                    out.append(verdict)
                    break
        return out


def test_summary_of_a_ramp() -> None:
    values = np.linspace(0.0, 99.0, 100, dtype=np.float32)[:, None]
    level, spread, slope = summarise(values)
    assert level == pytest.approx(49.5)
    assert spread == pytest.approx(0.0, abs=1e-6)
    assert slope == pytest.approx(59.0)


def test_summary_leaves_out_what_no_sensor_reads() -> None:
    values = np.full((60, 4), 5.0, dtype=np.float32)
    values[:, 1] = np.nan
    values[20:25, 2] = np.inf
    values[30, 3] = 1e38
    level = summarise(values)[:4]
    assert np.isnan(level[1])
    assert level[[0, 2, 3]] == pytest.approx(5.0)
    assert np.isnan(summarise(np.zeros((4, 2), dtype=np.float32))).all()
    assert np.isnan(summarise(np.zeros((0, 2), dtype=np.float32))).all()


def test_matching_offsets_are_normal() -> None:
    assert Tool().run(200) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_shift_of_five_sigmas_is_found_within_ten_wafers(seed: int) -> None:
    tool = Tool(seed)
    assert tool.run(20) == []
    verdicts = (tool.wafer(2, shift=5.0) for _ in range(10))
    verdict = next(v for v in verdicts if v is not None and v.shifts)
    shift = verdict.shifts[0]
    assert shift.variable == "power_w"
    assert shift.z > 2.0
    assert shift.mean - shift.normal == pytest.approx(shift.z * shift.spread)
    assert 18_000 <= verdict.since_ms <= tool.time


@pytest.mark.parametrize("seed", range(5))
def test_two_wild_wafers_are_not_a_shift_but_five_are(seed: int) -> None:
    tool = Tool(seed)
    tool.run(100)
    verdicts = [tool.wafer(0, shift=50.0) for _ in range(5)]
    assert [bool(v and v.shifts) for v in verdicts[:2]] == [False, False]
    assert verdicts[4] is not None
    assert verdicts[4].shifts


def test_what_all_modules_do_is_nobodys_fault() -> None:
    tool = Tool()
    tool.run(40)
    assert tool.run(60, dict.fromkeys(range(4), 5.0)) == []


def test_a_noisier_sensor_is_a_fault_and_a_stuck_one_is_not() -> None:
    tool = Tool()
    tool.run(40)
    stuck = [tool.wafer(0, noise=0.0) for _ in range(30)]
    assert not any(v.shifts for v in stuck if v)
    noisy = [tool.wafer(1, noise=1.5) for _ in range(10)]
    assert any(s.variable == "power_w:spread" for v in noisy if v for s in v.shifts)


def test_a_variable_that_is_missing_or_new_harms_nothing() -> None:
    tool = Tool()
    tool.run(20)
    short = summarise(np.full((40, 1), 2.6, dtype=np.float32))
    assert tool.group.update("E-1/A", ("pressure_pa",), short, 10**6) is not None
    wide = summarise(np.full((40, 3), 2.6, dtype=np.float32))
    for n in range(60):
        tool.group.update("E-1/A", ("new_v", "pressure_pa", "x" * 500), wide, 10**6 + n)
    assert tool.group.table.cells == 4 * 3 * 3


def test_a_repair_forgives_and_a_recipe_change_is_learnt() -> None:
    tool = Tool()
    tool.run(30)
    tool.run(20, {0: 5.0})
    tool.group.forgive("E-1/A")
    verdict = tool.wafer(0)
    assert verdict is not None
    assert verdict.quiet
    tool.group.relearn("E-1/A")
    assert tool.wafer(0, shift=9.0) is None
    for _ in range(40):
        verdict = tool.wafer(0, shift=9.0)
    assert verdict is not None
    assert verdict.shifts == ()


def alone(seed: int, shifts: list[float]) -> tuple[ChartGroup, list[Verdict]]:
    """A module without any other of its kind, wafer by wafer; verdicts after its warm-up."""
    rng, group, out = np.random.default_rng(seed), ChartGroup("R", DETECTION), []
    for number, shift in enumerate(shifts):
        reading = np.array([900.0 + 3.0 * (rng.normal() + shift), 1.0, 0.0])
        verdict = group.update("E-1/A", ("power_w",), reading, number)
        out += [] if verdict is None else [verdict]
    return group, out


@pytest.mark.parametrize("before", [16, 22, 28])
def test_a_lone_module_with_few_wafers_is_judged_with_wider_limits(before: int) -> None:
    for seed in range(10):
        _, verdicts = alone(seed, [0.0] * before + [9.0] * 14)
        assert not any(verdict.shifts for verdict in verdicts[: before - 10])
        assert verdicts[-1].shifts


def test_a_lone_module_that_is_well_stays_quiet_from_its_first_wafers() -> None:
    for seed in range(60):
        assert not any(verdict.shifts for verdict in alone(seed, [0.0] * 60)[1])


def test_maintenance_makes_the_centre_unsure_and_leaves_the_spread_known() -> None:
    tool = Tool()
    tool.run(60)
    assert tool.wafer(0).settling == 0
    tool.group.settle("E-1/A")
    # Blind for a while to what maintenance leaves, never to a fault.
    verdicts = [tool.wafer(0, shift=9.0) for _ in range(8)]
    assert [verdict.settling for verdict in verdicts] == list(range(1, 9))
    assert verdicts[-1].shifts
    tool.group.settle("E-1/A")
    tool.run(150)
    assert tool.wafer(0).settling == 0


def test_what_is_recentred_is_judged_from_its_new_normal_without_a_warm_up() -> None:
    tool = Tool()
    tool.run(60)
    tool.group.settle("E-1/A")
    before = [tool.wafer(0, shift=3.0) for _ in range(15)][-1]
    assert not before.quiet
    assert not tool.group.recentre("E-1/A", {"pressure_pa"})
    assert tool.group.recentre("E-1/A", {"power_w"})
    after = [tool.wafer(0, shift=3.0) for _ in range(20)]
    assert not any(verdict.shifts for verdict in after)
    assert after[-1].quiet
    assert any(tool.wafer(0, shift=9.0).shifts for _ in range(10))


@pytest.mark.parametrize("wafers", [3, 40])
def test_a_saved_group_goes_on_the_same(wafers: int) -> None:
    one, two = Tool(), Tool()
    one.run(wafers)
    two.run(wafers)
    for tool in (one, two):
        tool.group.settle("E-1/B")
        tool.wafer(1)
    two.group = ChartGroup("R", DETECTION, ChartTable.restore(two.group.table.record()))
    for _ in range(20):
        first, second = one.wafer(1, 3.0), two.wafer(1, 3.0)
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            assert first[:3] == second[:3]
            assert np.array_equal(first.z, second.z, equal_nan=True)
    assert one.group.table.record() == two.group.table.record()


def test_hundreds_of_quiet_charts_stay_quiet() -> None:
    # 12 groups x 4 modules x 2 variables x 3 statistics = 288 charts, 120 wafers a module; more
    # seeds in bench/control_detection.py.
    assert [Tool(seed).run(120) for seed in range(12)] == [[]] * 12


def test_groups_that_were_not_used_for_longest_make_room() -> None:
    state = ControlState("kr1")
    watch = FaultWatch(state, DETECTION)
    variables = tuple(f"v{number}" for number in range(64))
    values = Array.of(np.ones((40, len(variables)), np.float32))
    cells = len(variables) * len(STATISTICS)
    most = MAX_CELLS // cells
    for number in range(most + 5):
        watch.watch(
            msgspec.structs.replace(
                sample_events()[Trace.ce_type],
                recipe_id=f"R{number}", time_ms=number, variables=variables, values=values,
            )
        )  # fmt: skip
        watch.save()
    kept = [key.partition("\x1f")[0] for key in state.groups]
    assert kept == [f"R{number}" for number in range(5, most + 5)]
