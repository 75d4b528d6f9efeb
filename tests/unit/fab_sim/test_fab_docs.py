"""docs/fab.md says what the code has."""

from pathlib import Path

import msgspec
import pytest

from fab_sim import Scenario
from fab_sim.kinds import KINDS
from fab_sim.modes import MODES
from fab_sim.scenario import (
    Equipment,
    Excursion,
    Lots,
    Product,
    Reliability,
    Sampling,
    SensorFault,
    Step,
)

LINES = (Path(__file__).parents[3] / "docs" / "fab.md").read_text().splitlines()


def row(first_cell: str) -> str:
    found = [line for line in LINES if line.startswith(f"| {first_cell} |")]
    assert found, f"docs/fab.md has no row for {first_cell}"
    return found[0]


@pytest.mark.parametrize("name", sorted(MODES))
def test_every_mode_is_listed_with_its_signature_and_its_pattern(name: str) -> None:
    mode, text = MODES[name], row(f"`{name}`")
    for variable, sigmas in mode.signature:
        assert f"`{variable}` {sigmas:+g}" in text
    assert f"| {mode.pattern} |" in text
    assert f"| {', '.join(mode.kinds)} |" in text
    if mode.compensation is not None:
        assert f"`{mode.compensation.parameter}` {mode.compensation.shift:+g}" in text


@pytest.mark.parametrize("kind", sorted(kind for kind, spec in KINDS.items() if spec.variables))
def test_every_sensor_and_recipe_parameter_is_listed(kind: str) -> None:
    spec = KINDS[kind]
    text = row(kind)
    for variable in spec.variables:
        assert f"`{variable.name}`" in text
    for parameter in spec.parameters:
        assert f"`{parameter.name}` {parameter.low:g} to {parameter.high:g}" in text
    for measured in (spec.measured, spec.defects):
        assert measured is None or f"`{measured.parameter}`" in text


@pytest.mark.parametrize(
    "part",
    [Scenario, Product, Equipment, Step, Lots, Sampling, Reliability, Excursion, SensorFault],
    ids=lambda p: p.__name__,
)
def test_every_key_of_a_scenario_is_listed(part: type[msgspec.Struct]) -> None:
    table = "\n".join(LINES[LINES.index("## Scenarios") :])
    for key in part.__struct_fields__:
        assert f"`{key}`" in table or f"`{key}[]`" in table, key
