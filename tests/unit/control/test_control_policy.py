from pathlib import Path

import pytest

from contracts.errors import ConfigError
from control.policy import default_policy_path, load_policy

TEXT = default_policy_path().read_text("utf-8")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT.replace(old, new, 1), "utf-8")
    return path


def test_the_shipped_policy_asks_a_person_for_everything() -> None:
    policy = load_policy()
    assert set(policy.approvals.values()) == {"person"}
    assert policy.limits.min_available_modules >= 1
    assert policy.detection.min_bad_wafers == 3


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("max_open_actions: 5", "max_open_action: 5", "limits.max_open_action", "unknown field"),
        ("  max_open_actions: 5\n", "", "limits.max_open_actions", "missing required"),
        ("max_open_actions: 5", "max_open_actions: five", "limits.max_open_actions", "Expected"),
        ("max_open_actions: 5", "max_open_actions: -1", "limits.max_open_actions", "0 or more"),
        ("min_confidence: 0.5", "min_confidence: .nan", "limits.min_confidence", "0 to 1"),
        ("hold_lot: person", "hold_lot: nobody", "approvals", "nobody"),
        ("  hold_lot: person\n", "", "approvals", "'hold_lot'"),
        ("min_bad_wafers: 3", "min_bad_wafers: 2", "detection.min_bad_wafers", "3 or more"),
        ("    default: 0.20\n", "", "economics.kill_ratio", "'default'"),
        ("critical: 10", "critical: 0.5", "economics.severity_wafers", "critical >= high"),
        ("phase_one_points: 8", "phase_one_points: 2", "metrology.phase_one_points", "5 to 50"),
        ("{limit: 4.5, ewma: [0.2, 4.0]}", "{}", "metrology.rules", "at least"),
        ("{limit: 4.5,", "{run_rules: [nelson-9],", "metrology.rules", "nelson-9"),
        ("{limit: 4.5,", "{limit: -1,", "metrology.rules", "above 0"),
        ("ewma: [0.2,", "ewma: [1.2,", "metrology.rules", "at most 1"),
        (
            "specifications: []",
            "specifications: [{parameter: cd_nm, lower: 5, upper: 4}]",
            "metrology.specifications",
            "below upper",
        ),
        ("name: default", "name: default\nname: again", "name", "given twice"),
        ("name: default", "name: [", "", "not YAML"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, key: str, reason: str
) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigError) as error:
        load_policy(path)
    text = str(error.value)
    assert text.startswith(f"{path}:")
    assert text.split(":")[1].isdigit()
    assert key in text
    assert reason in text


def test_the_line_is_that_of_the_key(tmp_path: Path) -> None:
    path = changed(tmp_path, "min_confidence: 0.5", "min_confidence: 7")
    line = next(
        n for n, text in enumerate(path.read_text().splitlines(), 1) if "_confidence" in text
    )
    with pytest.raises(ConfigError, match=rf"policy\.yaml:{line}: limits\.min_confidence"):
        load_policy(path)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("min: 900, max: 700, max_step: 20", "swap them"),
        ("min: 700, max: 900, max_step: 0", "above 0"),
        ("min: 700, max: .inf, max_step: 1", "finite"),
    ],
)
def test_limits_upside_down(tmp_path: Path, limits: str, reason: str) -> None:
    path = changed(
        tmp_path,
        "recipe_parameters: {}",
        f"recipe_parameters:\n  rf_power_w: {{variable: rf_power_w, gain: 1.0, {limits}}}",
    )
    with pytest.raises(ConfigError, match=reason) as error:
        load_policy(path)
    assert "recipe_parameters.rf_power_w" in str(error.value)


@pytest.mark.parametrize(
    ("thread", "reason"),
    [
        ("gain: 0, weight: 0.3", "gain must not be 0"),
        ("gain: 1, weight: 0", "weight must be above 0"),
        ("gain: .nan, weight: 0.3", "finite"),
        ("gain: 1, weight: 0.3", "limits under recipe_parameters first"),
    ],
)
def test_run_to_run_threads_that_make_no_sense(tmp_path: Path, thread: str, reason: str) -> None:
    rest = "nominal: 32, target: 45, noise: 0.4, dead_band: 0.2"
    names = "step: S, output: cd_nm, parameter: dose_mj_cm2"
    path = changed(tmp_path, "run_to_run: []", f"run_to_run: [{{{names}, {rest}, {thread}}}]")
    with pytest.raises(ConfigError, match=reason) as error:
        load_policy(path)
    assert "run_to_run" in str(error.value)


def test_files_that_are_no_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_policy(tmp_path / "missing.yaml")
    for text in ("", "- a list", "\x00", "a: &a [*a]"):
        path = tmp_path / "odd.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_policy(path)
