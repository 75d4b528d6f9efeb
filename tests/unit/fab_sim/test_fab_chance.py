"""Failures without a cause: their mean, their spread, and what repeats."""

import numpy as np
import pytest

from fab_sim.chance import (
    ALPHA,
    BY_CHANCE,
    BY_EDGE,
    BY_RETICLE,
    BY_TESTER,
    Habits,
    chance,
    habits,
)
from fab_sim.outline import disc
from fab_sim.randomness import generator
from fab_sim.scenario import Product

PRODUCT = Product(id="P", rows=40, columns=44, random_share=0.05)


def counts(product: Product, code: int, wafers: int) -> np.ndarray:
    """(wafers,) dies of each wafer that failed for one reason."""
    habit = habits(product)
    return np.array(
        [
            (chance(habit, 0.0, 0.0, generator("w", number)) == code).sum()
            for number in range(wafers)
        ]
    )


@pytest.mark.parametrize("share", [0.01, 0.05, 0.15])
@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_dies_fail_as_often_as_the_product_says(name: str, share: float) -> None:
    product = Product(id=name, rows=38, columns=38, random_share=share)
    habit = habits(product)
    expected = (habit.base + habit.edge).mean()
    assert expected == pytest.approx(share, rel=0.01)
    failed = [
        (chance(habit, 0.0, 0.3, generator("m", number)) != 0).mean() for number in range(300)
    ]
    # Clusters, bad days, a repeating defect and the tester come on top, and are few.
    assert share * 0.97 < np.mean(failed) < share * 1.25 + 0.01


def test_random_defects_vary_from_wafer_to_wafer_as_a_negative_binomial() -> None:
    defects = counts(PRODUCT, BY_CHANCE, 1500)
    # A bad day is rare and far out: the bulk of the wafers shows the law.
    bulk = defects[defects < np.quantile(defects, 0.98)]
    mean = bulk.mean()
    poisson, negative_binomial = mean, mean + mean**2 / ALPHA
    assert bulk.var() > 1.5 * poisson
    assert 0.6 * negative_binomial < bulk.var() < 1.6 * negative_binomial


def test_a_repeating_defect_returns_with_the_period_of_the_reticle() -> None:
    product = next(
        candidate
        for number in range(200)
        if habits(
            candidate := Product(
                id=f"R{number}", rows=40, columns=42, reticle_rows=5, reticle_columns=3
            )
        ).repeat
        is not None
    )
    habit = habits(product)
    wafer = habit.wafer
    seen = np.zeros((5, 3))
    for number in range(60):
        repeated = chance(habit, 0.0, 0.3, generator("r", number)) == BY_RETICLE
        np.add.at(seen, (wafer.row[repeated] % 5, wafer.column[repeated] % 3), 1)
    assert np.count_nonzero(seen) == 1
    assert seen.max() > 10


def test_few_products_have_a_repeating_defect_and_it_is_weak() -> None:
    repeats = [
        habits(Product(id=f"Q{number}", rows=30, columns=30)).repeat for number in range(200)
    ]
    with_one = [repeat for repeat in repeats if repeat is not None]
    assert 5 <= len(with_one) <= 45
    assert max(float(repeat.mean()) for repeat in with_one) < 0.03


def test_the_tester_alone_fails_a_good_die_now_and_then() -> None:
    dies = len(habits(PRODUCT).wafer.r)
    share = counts(PRODUCT, BY_TESTER, 400).mean() / dies
    assert 0.0003 < share < 0.003


def test_edge_failures_lie_at_the_edge() -> None:
    habit: Habits = habits(PRODUCT)
    for number in range(20):
        edge = chance(habit, 0.0, 0.3, generator("e", number)) == BY_EDGE
        assert (habit.wafer.corner[edge] > 0.85).all()


@pytest.mark.parametrize(("rows", "columns"), [(10, 25), (25, 27), (38, 38), (153, 187)])
def test_a_shifted_grid_still_touches_all_four_sides(rows: int, columns: int) -> None:
    for aside, down, reach in ((0.0, 0.0, 1.0), (0.25, -0.25, 0.98), (0.45, 0.45, 0.9)):
        wafer = disc(rows, columns, aside, down, reach)
        assert wafer.on.shape == (rows, columns)
        assert wafer.on.any(axis=0).all()
        assert wafer.on.any(axis=1).all()
        assert (wafer.number[wafer.row, wafer.column] == np.arange(len(wafer.r))).all()
        assert (wafer.corner > wafer.r).all()
