"""`fabpilot sim show`: every scenario gives its sheets, whole, and a wrong one gives none."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contracts.errors import ConfigError
from contracts.wafer_map import PATTERNS
from fab_sim import builtin_scenarios, load_scenario
from fab_sim.modes import MODES
from fabpilot import sim_sheets
from fabpilot.cli import build_app
from fabpilot.sheets import sources, style
from fabpilot.sheets.modes import mode_figure
from fabpilot.sheets.units import in_words
from fabpilot.sim_sheets import sheet_names, write_sheets

# One kind of equipment beside test, one product of an unusual grid, no excursion, tiny lots.
MINIMAL = """
name: minimal
description: One etch tool, nothing goes wrong.
products: [{id: ONLY, rows: 25, columns: 60, wafer_diameter_mm: 150}]
equipment:
  - {id: E9, kind: etch, modules: [X]}
  - {id: T9, kind: test, modules: [X]}
route:
  - {name: S1, kind: etch, recipe: R1, minutes: 0.5}
  - {name: S2, kind: test, recipe: R2, minutes: 1}
lots: {wafers: 2, total: 1}
"""
ONE_EXCURSION = """
excursions: [{id: x, mode: helium_chuck_leak, equipment: E9, module: X, onset_h: 1}]
"""
# Equipment that has no failure mode at all, and an etch tool that the route never uses.
NOTHING_TO_BREAK = """
name: idle
description: Lots go straight to test; the etch tool stands idle.
equipment:
  - {id: E1, kind: etch, modules: [A]}
  - {id: M1, kind: metrology, modules: [A]}
  - {id: T1, kind: test, modules: [A]}
route:
  - {name: M, kind: metrology, recipe: R1, minutes: 1}
  - {name: T, kind: test, recipe: R2, minutes: 1}
sampling: {metrology_wafers: 0}
excursions:
  - {id: x, mode: edge_ring_wear, equipment: E1, module: A, onset_h: 1}
"""


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_DPI", 30)


def a_file(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def check_pictures(folder: Path, names: list[str]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        with Image.open(folder / name) as picture:
            grey = np.asarray(picture.convert("L"))
        assert min(grey.shape) > 60
        # Something is drawn, and it is not all of the page.
        assert 0.02 < np.mean(grey < 250) < 0.98


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_every_built_in_scenario_gives_its_sheets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load_scenario(name)
    every = sources.modes_of(scenario)
    assert set(every) == (
        {excursion.mode for excursion in scenario.excursions}
        or set(sources.modes_that_can_be(scenario))
    )
    # One mode is drawn; the next test draws all that there are.
    monkeypatch.setattr(sim_sheets, "modes_of", lambda _: every[:1])
    done: list[int] = []
    result = write_sheets(scenario, seed=None, out=tmp_path, on_progress=done.append)
    assert result.seed == scenario.seed
    assert done == [1, 2, 3, 4]
    check_pictures(tmp_path, [Path(file).name for file in result.files])


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_has_a_sheet_with_traces_before_and_after(mode: str) -> None:
    scenario = load_scenario("quiet")
    story = sources.mode_story(scenario, mode, 1, 3)
    assert story.variables == tuple(name for name, _ in MODES[mode].signature)
    assert len(story.before) == len(story.after) == 50
    assert story.run == ("lot" if mode == "boat_position" else "wafer")
    assert 1 <= story.first_bad <= story.growth_runs + 10
    # The largest shift of the signature is there, the way it should be.
    variable, sigmas = max(MODES[mode].signature, key=lambda item: abs(item[1]))
    column = story.variables.index(variable)
    before, after = (np.nanmean(part[:, :, column], axis=1) for part in (story.before, story.after))
    z = (after[story.growth_runs :].mean() - before.mean()) / before.std()
    assert np.sign(z) == np.sign(sigmas)
    assert abs(z) > 2.0
    assert style.draw(lambda: mode_figure(scenario, mode, 1)).startswith(b"\x89PNG")


def test_a_minimal_scenario_shows_all_modes_that_its_equipment_can_have(tmp_path: Path) -> None:
    scenario = load_scenario(a_file(tmp_path, MINIMAL))
    result = write_sheets(scenario, seed=3, out=tmp_path / "deep" / "sheets")
    etch = sorted(name for name, mode in MODES.items() if "etch" in mode.kinds)
    assert list(result.modes) == etch
    check_pictures(
        tmp_path / "deep" / "sheets",
        ["maps.png", "lot.png", "review.png", *(f"mode-{mode}.png" for mode in etch)],
    )


def test_equipment_that_is_never_used_is_shown_without_traces(tmp_path: Path) -> None:
    scenario = load_scenario(a_file(tmp_path, NOTHING_TO_BREAK))
    assert len(sources.mode_story(scenario, "edge_ring_wear", 1, 2).after) == 0
    write_sheets(scenario, seed=1, out=tmp_path / "sheets")
    check_pictures(
        tmp_path / "sheets", ["maps.png", "lot.png", "review.png", "mode-edge_ring_wear.png"]
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    scenario = load_scenario(a_file(tmp_path, MINIMAL + ONE_EXCURSION))
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sheets(scenario, seed=seed, out=tmp_path / folder)
    for name in sheet_names(scenario):
        first, again, other = ((tmp_path / folder / name).read_bytes() for folder in "abc")
        assert first == again
        assert first != other


def test_a_mode_shows_in_its_sensors_before_its_maps() -> None:
    story = sources.mode_story(load_scenario("demo"), "rf_match_drift", 7, 4)
    assert story.in_scenario
    assert story.module == "ETCH-01/A"
    assert story.variables == ("rf_reflected_w", "match_position_pct", "rf_power_w")
    assert len(story.before) >= 40
    assert len(story.after) >= 40
    before, after = story.before.mean(1), story.after.mean(1)
    z = (after[story.growth_runs :].mean(0) - before.mean(0)) / before.std(0)
    assert z[0] > 3.0
    assert z[1] > 3.0
    assert z[2] < -1.0
    assert story.first_bad > 1
    assert np.nanmax(story.field) > 0.4
    assert {pattern for _, pattern in story.grids} == {"Edge-Ring"}


def test_a_gallery_has_every_pattern_of_its_modes_on_every_product() -> None:
    scenario = load_scenario("quiet")
    maps = sources.gallery(scenario, sources.modes_of(scenario), 8, 1)
    assert set(maps) == set(PATTERNS)
    sizes = {grid.shape for grids in maps.values() for grid in grids}
    assert sizes == {(product.rows, product.columns) for product in scenario.products}


def test_a_lots_way_has_every_step_of_the_route_once_a_wafer() -> None:
    scenario = load_scenario("demo")
    story = sources.lot_story(scenario, 1)
    assert story.finished
    assert story.wafers == 25
    for place, step in enumerate(scenario.route):
        slots = [trail.slot for trail in story.trails if trail.sequence == place]
        sampled = step.kind in ("metrology", "inspection")
        assert len(slots) == (scenario.sampling.metrology_wafers if sampled else 25)
        assert len(set(slots)) == len(slots)
    assert all(trail.end_h > trail.start_h >= 0.0 for trail in story.trails)
    assert {trail.kind for trail in story.trails} == {step.kind for step in scenario.route}


@pytest.mark.parametrize(
    ("variable", "name", "unit"),
    [
        ("rf_power_w", "rf power", "W"),
        ("particle_density_m3", "particle density", "1/m³"),
        ("rinse_resistivity_mohm_cm", "rinse resistivity", "MΩ cm"),
        ("slurry_flow_ml_min", "slurry flow", "ml/min"),
        ("strange", "strange", ""),
    ],
)
def test_variables_are_named_with_their_units(variable: str, name: str, unit: str) -> None:
    assert in_words(variable) == (name, unit)


def test_every_variable_of_the_fab_has_a_unit_that_is_known() -> None:
    for mode in MODES.values():
        for variable, _ in mode.signature:
            assert in_words(variable)[1], variable


# -- the command --------------------------------------------------------------------------------


def show(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(["sim"]), ["sim", "show", *arguments])


def test_the_command_prints_its_files_as_json(tmp_path: Path) -> None:
    file = a_file(tmp_path, MINIMAL + ONE_EXCURSION)
    done = show("--scenario", str(file), "--out", str(tmp_path / "sheets"), "--seed", "5", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["scenario"] == "minimal"
    assert said["seed"] == 5
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in said["files"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (MINIMAL.replace("kind: etch", "kind: oven", 1), "oven"),
        (MINIMAL.replace("rows: 25", "rowz: 25"), "rowz"),
        ("nothing: at all", "nothing"),
    ],
)
def test_a_wrong_scenario_is_a_clear_error_and_writes_nothing(
    text: str, named: str, tmp_path: Path
) -> None:
    done = show("--scenario", str(a_file(tmp_path, text)), "--out", str(tmp_path / "sheets"))
    assert isinstance(done.exception, ConfigError)
    assert named in str(done.exception)
    assert "scenario.yaml" in str(done.exception)
    assert not (tmp_path / "sheets").exists()


def test_a_scenario_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = show("--scenario", "no-such-scenario", "--out", str(tmp_path / "sheets"))
    assert isinstance(done.exception, ConfigError)
    assert "no-such-scenario" in str(done.exception)
    assert not (tmp_path / "sheets").exists()


def test_a_folder_that_cannot_be_written_to_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    scenario = load_scenario(a_file(tmp_path, MINIMAL))
    with pytest.raises(ConfigError, match="--out"):
        write_sheets(scenario, seed=1, out=tmp_path / "file")


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_ = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "fabpilot.sim_sheets":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return import_(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    done = show("--scenario", "quiet", "--out", str(tmp_path / "sheets"))
    assert isinstance(done.exception, ConfigError)
    assert "pip install 'fabpilot[fab,train]'" in str(done.exception)
    assert not (tmp_path / "sheets").exists()
