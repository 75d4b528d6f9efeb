"""Scenario files: what is accepted, and what a wrong one is told."""

from collections import Counter
from pathlib import Path

import pytest

from contracts.errors import ConfigError
from fab_sim import builtin_scenarios, load_scenario
from fab_sim.kinds import KINDS
from fab_sim.modes import MODES
from fab_sim.yaml_file import MAX_BYTES

BASE = "name: mine\ndescription: A test.\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def excursion(**changes: object) -> str:
    keys: dict[str, object] = {
        "id": "x1",
        "mode": "rf_match_drift",
        "equipment": "ETCH-01",
        "module": "A",
        "onset_wafers": 50,
    }
    keys.update(changes)
    lines = [f"    {key}: {value}" for key, value in keys.items() if value is not None]
    return BASE + "excursions:\n  -\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_every_built_in_loads_and_is_named_after_its_file(name: str) -> None:
    assert load_scenario(name).name == name
    assert builtin_scenarios()[name] == load_scenario(name).description


def test_demo_has_three_excursions_on_different_modules_quiet_has_none() -> None:
    demo = load_scenario("demo").excursions
    assert len({(item.equipment, item.module) for item in demo}) == 3
    assert len({MODES[item.mode].pattern for item in demo}) == 3
    assert load_scenario("quiet").excursions == ()


def test_mixed_has_a_cause_for_every_pattern() -> None:
    patterns = {MODES[item.mode].pattern for item in load_scenario("mixed").excursions}
    assert len(patterns) == 8


def test_a_file_of_ones_own_needs_only_what_differs(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, excursion(share=0.5)))
    assert scenario.excursions[0].share == 0.5
    assert len(scenario.route) >= 30


def test_the_default_route_comes_back_to_the_same_equipment() -> None:
    route = load_scenario("quiet").route
    assert len({step.name for step in route}) == len(route)
    visits = Counter(step.kind for step in route)
    assert min(visits[kind] for kind in ("litho", "etch", "deposition", "cmp", "clean")) >= 3
    assert set(visits) == set(KINDS)


def test_a_scenario_says_what_happens_at_which_site() -> None:
    scenario = load_scenario("three_drifts_two_sites")
    assert scenario.sites == ("kr1", "us1")
    assert {item.id for item in scenario.at("us1").excursions} == {"us-zone"}
    assert len(scenario.at("kr1").excursions) == 2


def test_there_are_scenarios_for_every_mode_and_many_kinds_of_trouble() -> None:
    names = builtin_scenarios()
    assert len(names) >= 14
    used = {item.mode for name in names for item in load_scenario(name).excursions}
    assert used == set(MODES)


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        (BASE + "speed: 3\n", 3, "speed", "not a key"),
        (excursion(colour="red"), 10, "excursions[0].colour", "not a key"),
        (excursion(mode="gremlins"), 6, "excursions[0].mode", "none of"),
        (excursion(mode="focus_drift"), 6, "excursions[0].mode", "happens on"),
        (excursion(equipment="ETCH-09"), 7, "excursions[0].equipment", "no equipment"),
        (excursion(module="Z"), 8, "excursions[0].module", "no module"),
        (excursion(share=-0.1), 10, "excursions[0].share", ">= 0"),
        (excursion(share=".nan"), 10, "excursions[0].share", "finite"),
        (excursion(onset_h="3 hours"), 10, "excursions[0].onset_h", "float"),
        (excursion(onset_h=2), 5, "excursions[0]", "exactly one"),
        (excursion(onset_wafers=None), 5, "excursions[0]", "exactly one"),
        (BASE + "lots:\n  total: 1000000000\n", 4, "lots.total", "1000000"),
        (BASE + "lots:\n  every_min: 5\n", 4, "lots.every_min", "not a key"),
        (BASE + "sites: [kr1, kr1]\n", 3, "sites[1]", "twice"),
        (BASE + "sites: [KR 1]\n", 3, "sites[0]", "regex"),
        (
            BASE + "sites: [kr1]\nexcursions:\n  - {id: x, mode: rf_match_drift,"
            " equipment: ETCH-01, module: A, onset_h: 1, site: us1}\n",
            5,
            "excursions[0].site",
            "none of kr1",
        ),
        (
            BASE + "sensor_faults:\n  - {id: s, equipment: ETCH-01, module: A,"
            " variable: luck, kind: stuck, onset_h: 1}\n",
            4,
            "sensor_faults[0].variable",
            "none of",
        ),
        (
            BASE + "sensor_faults:\n  - {id: s, equipment: ETCH-01, module: A,"
            " variable: rf_power_w, kind: stuck, onset_h: 5, until_h: 4}\n",
            4,
            "sensor_faults[0].until_h",
            "later",
        ),
        (
            BASE + "products:\n  - {id: A, rows: 40, columns: 40}\n"
            "  - {id: A, rows: 30, columns: 30}\n",
            5,
            "products[1].id",
            "twice",
        ),
        (
            BASE + "products:\n  - {id: A, rows: 40, columns: 5000}\n",
            4,
            "products[0].columns",
            "200",
        ),
        (BASE + "route:\n  - {name: S, kind: etch, recipe: R}\n", 4, "route[0].kind", "test"),
        (
            BASE + "equipment:\n  - {id: E, kind: oven, modules: [A]}\n",
            4,
            "equipment[0].kind",
            "none",
        ),
    ],
)
def test_a_wrong_file_is_told_where_and_what(
    tmp_path: Path, text: str, line: int, key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario(write(tmp_path, text))
    message = str(caught.value)
    assert message.startswith(f"mine.yaml, line {line}, key '{key}': ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mapping"),
        ("- 1\n- 2\n", "mapping"),
        ("name: [unclosed\n", "not YAML"),
        ("name: a\nname: b\ndescription: c\n", "line 2: key 'name' is there twice"),
        ("name: &a x\ndescription: *a\n", "line 2: aliases"),
        ("name: !!python/object/apply:os.getcwd []\ndescription: c\n", "line 1"),
        ("[" * 3000, "nested"),
        ("#" * (MAX_BYTES + 1), "bytes"),
        ("description: no name\n", "name"),
    ],
)
def test_what_is_no_scenario_at_all_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml") as caught:
        load_scenario(write(tmp_path, text))
    assert words in str(caught.value)


def test_an_unknown_name_lists_the_built_in_ones() -> None:
    with pytest.raises(ConfigError, match=r"no scenario 'nowhere'.*aborts, .*demo, .*quiet"):
        load_scenario("nowhere")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml cannot be read"):
        load_scenario(tmp_path / "gone.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_scenario(path)
