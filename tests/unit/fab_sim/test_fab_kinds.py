"""Kinds of module, what is measured after them, and that every mode shows in something measured."""

import math
import re

import numpy as np
import pytest

from fab_sim.kinds import INSPECTION, KINDS, METROLOGY, TEST
from fab_sim.metrology import measure, site_positions
from fab_sim.modes import MODES
from fab_sim.randomness import generator

PROCESSING = sorted(kind for kind, spec in KINDS.items() if spec.variables)
# A unit ends a name: of the SI, or what tools of the trade say.
UNIT = re.compile(
    r"_(w|v|a|ma|kv|kev|pa|upa|kpa|c|nm|um|mm|fm|m3|n|s|deg|rpm|hz|pct|ppm|ph|au|ml|sccm"
    r"|l_min|ml_min|mj_cm2|ms_cm|mohm_cm)$"
)


@pytest.mark.parametrize("kind", PROCESSING)
def test_a_kind_has_named_variables_with_units_and_two_things_to_measure(kind: str) -> None:
    spec = KINDS[kind]
    assert spec.area
    assert 12 <= len(spec.variables) <= 30
    for variable in spec.variables:
        assert UNIT.search(variable.name) or variable.name.endswith("_density_m3"), variable.name
        assert 0.0 < variable.spread < abs(variable.level)
    names = {variable.name for variable in spec.variables}
    for parameter in spec.parameters:
        assert parameter.name in names
        assert parameter.low < parameter.nominal < parameter.high
    assert spec.defects is not None
    assert spec.defects.parameter == "defect_density_cm2"
    assert spec.defects.log
    assert math.isclose(sum(phase.share for phase in spec.phases), 1.0)
    assert {phase.name for phase in spec.phases} >= {"stabilise", "main", "purge"}


def test_what_measures_a_lot_has_no_sensors() -> None:
    for kind in (METROLOGY, INSPECTION, TEST):
        assert KINDS[kind].variables == ()
        assert KINDS[kind].measured is None
        assert KINDS[kind].defects is None


@pytest.mark.parametrize("kind", PROCESSING)
def test_every_kind_has_a_mode_of_its_own(kind: str) -> None:
    assert any(kind in mode.kinds for mode in MODES.values())


def test_there_are_at_least_twelve_modes() -> None:
    assert len(MODES) >= 12


@pytest.mark.parametrize("name", sorted(MODES))
def test_every_mode_shows_in_something_that_is_measured_on_each_of_its_kinds(name: str) -> None:
    mode = MODES[name]
    for kind in mode.kinds:
        spec = KINDS[kind]
        film = abs(mode.metrology_shift) if spec.measured is not None else 0.0
        defects = abs(mode.defect_shift) if spec.defects is not None else 0.0
        assert max(film, defects) >= 1.5
    if mode.boat is not None:
        first, last = mode.boat
        assert 1 <= first <= last <= 25
        assert all(KINDS[kind].batch for kind in mode.kinds)


@pytest.mark.parametrize("kind", PROCESSING)
def test_the_logarithm_of_a_defect_density_is_normal_around_its_baseline(kind: str) -> None:
    what = KINDS[kind].defects
    assert what is not None
    centre = site_positions(1, 300.0)

    def logs(shift: float) -> np.ndarray:
        values = [measure(what, centre, 300.0, shift, generator("d", kind, k)) for k in range(400)]
        assert min(value for (value,) in values) > 0.0
        return np.log([value for (value,) in values])

    plain, shifted = logs(0.0), logs(4.0)
    # The wafer's own centre is cleaner than its edge by 0.4 spreads.
    expected = math.log(what.target) - 0.4 * what.spread
    spread = math.hypot(what.spread, what.gauge)
    assert abs(plain.mean() - expected) < 4.0 * spread / 20.0
    assert plain.std() == pytest.approx(spread, rel=0.12)
    skew = float(np.mean(((plain - plain.mean()) / plain.std()) ** 3))
    assert abs(skew) < 4.0 * math.sqrt(6.0 / 400.0)
    # Additive in the logarithm: a shift multiplies.
    assert shifted - plain == pytest.approx(4.0 * what.spread, abs=1e-4)
