import itertools
import random

import pytest
from scipy.stats import fisher_exact, hypergeom

from control.commonality import PlaceKey, commonalities, fisher_p, holm, odds_ratio


def wafer(module: str, recipe: str = "R", step: str = "ETCH") -> frozenset[PlaceKey]:
    return frozenset(
        {
            PlaceKey("module", module),
            PlaceKey("equipment", module.partition("/")[0]),
            PlaceKey("recipe", recipe),
            PlaceKey("step", step),
        }
    )


def test_fisher_agrees_with_scipy() -> None:
    rng = random.Random(5)
    for _ in range(200):
        bad, good = rng.randint(1, 40), rng.randint(0, 200)
        a, b = rng.randint(0, bad), rng.randint(0, good)
        ours = fisher_p(a, bad, b, good)
        table = [[a, b], [bad - a, good - b]]
        assert ours == pytest.approx(fisher_exact(table, "greater").pvalue, rel=1e-9, abs=1e-15)
        assert ours == pytest.approx(hypergeom.sf(a - 1, bad + good, bad, a + b), rel=1e-8)


def test_holm_is_between_the_raw_value_and_bonferroni() -> None:
    for p in itertools.product((0.001, 0.02, 0.4), repeat=3):
        corrected = holm(p)
        assert all(
            raw <= c <= min(1.0, 3 * raw) + 1e-12 for raw, c in zip(p, corrected, strict=True)
        )
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([]) == []


def test_two_bad_wafers_are_inconclusive() -> None:
    assert commonalities([wafer("E-1/A")] * 2, [wafer("E-1/B")] * 50) == ()


def test_the_culprit_is_first_with_its_effect() -> None:
    bad = [wafer("E-1/A")] * 9 + [wafer("E-2/A")]
    good = [wafer("E-1/A")] * 2 + [wafer(m) for m in ("E-1/B", "E-2/A", "E-2/B")] * 15
    first = commonalities(bad, good)[0]
    assert (first.factor, first.value) == ("module", "E-1/A")
    assert (first.bad_through, first.bad_total) == (9, 10)
    assert (first.good_through, first.good_total) == (2, 47)
    assert first.odds_ratio == pytest.approx(odds_ratio(9, 10, 2, 47))
    assert first.odds_ratio > 50
    assert first.p_value < 1e-4


def test_an_equipment_with_one_module_in_use_is_answered_by_the_module() -> None:
    found = commonalities([wafer("E-1/A")] * 8, [wafer("E-2/A")] * 40)
    assert [c.factor for c in found[:2]] == ["module", "equipment"]


def test_an_equipment_with_two_bad_modules_is_answered_by_the_equipment() -> None:
    bad = [wafer("E-1/A"), wafer("E-1/B")] * 6
    good = [wafer("E-2/A"), wafer("E-2/B")] * 20
    assert commonalities(bad, good)[0].value == "E-1"


def test_what_all_wafers_share_is_no_comparison() -> None:
    found = commonalities([wafer("E-1/A")] * 5, [wafer("E-1/B")] * 5)
    assert {c.factor for c in found} == {"module"}


def test_chance_is_rarely_significant() -> None:
    rng = random.Random(3)
    modules = [f"E-{n}/{m}" for n in range(1, 5) for m in "ABCD"]
    false = 0
    for _ in range(300):
        wafers = [wafer(rng.choice(modules), f"R{rng.randint(1, 4)}") for _ in range(100)]
        found = commonalities(wafers[:10], wafers[10:])
        false += bool(found) and found[0].p_value <= 0.05
    # Holm keeps the family-wise rate at or below 5 %: 15 expected at most, 27 is three sigmas.
    assert false <= 27
