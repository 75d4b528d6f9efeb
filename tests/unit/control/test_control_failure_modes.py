"""The site's failure modes: read with care, and the shipped ones are those of docs/fab.md."""

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from control.failure_modes import default_failure_modes_path, load_failure_modes
from control.policy import default_policy_path, load_policy
from fab_sim.modes import MODES

TEXT = default_failure_modes_path().read_text("utf-8")


def test_the_shipped_modes_are_those_of_the_synthetic_fab() -> None:
    shipped = load_failure_modes().modes
    assert shipped.keys() == MODES.keys()
    for name, true in MODES.items():
        mode = shipped[name]
        assert mode.kinds == true.kinds
        assert mode.signature == dict(true.signature)
        assert mode.patterns == (true.pattern,)
        assert (mode.measured, mode.defects) == (true.metrology_shift, true.defect_shift)
        assert mode.slots == true.boat
        assert (mode.correction is None) == (true.compensation is None)
        if mode.correction is not None and true.compensation is not None:
            assert mode.correction.parameter == true.compensation.parameter
            assert mode.correction.change == true.compensation.shift


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("kinds: [etch]", "kind: [etch]", "modes", "unknown field"),
        ("kinds: [etch]", "kinds: []", "rf_match_drift.kinds", "at least one"),
        ("rf_reflected_w: 8", "rf_reflected_w: .nan", "rf_match_drift.signature", "finite"),
        ("change: -60", "change: 0", "correction.change", "not be 0"),
        ("slots: [1, 6]", "slots: [6, 1]", "boat_position.slots", "first"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, key: str, reason: str
) -> None:
    path = tmp_path / "modes.yaml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError) as error:
        load_failure_modes(path)
    text = str(error.value)
    assert text.startswith(f"{path}:")
    assert key in text
    assert reason in text


def test_a_policy_names_the_sites_own_file(tmp_path: Path) -> None:
    own = "modes: {worn_pad: {kinds: [cmp], signature: {pad_temp_c: 5}, patterns: [Donut]}}"
    (tmp_path / "own.yaml").write_text(own, "utf-8")
    policy = default_policy_path().read_text("utf-8")
    path = tmp_path / "policy.yaml"
    path.write_text(policy.replace("failure_modes: packaged", "failure_modes: own.yaml"), "utf-8")
    assert list(load_policy(path).failure_modes) == ["worn_pad"]
    assert load_policy().failure_modes == load_failure_modes().modes
