"""A module without a past is compared with those that run the same recipe."""

import numpy as np

from control.charts import ChartGroup
from control.peers import LATEST, Distance, Look, Peer, compare
from control.policy import load_policy

DETECTION = load_policy().detection
VARIABLES = ("a_w", "b_pa", "c_k")


def runs(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    out = np.random.default_rng(seed).normal(10.0, 1.0, size=(n, 3))
    out[:, 0] += shift
    return out


def looked(readings: np.ndarray, peers: list[Peer], floor: np.ndarray) -> Distance | None:
    return compare([Look(readings, peers, floor)])


def test_a_module_far_from_its_peers_is_seen_on_its_third_run() -> None:
    peers = [Peer.of_readings(runs(seed, 4)) for seed in range(4)]
    floor = np.full(3, 1e-3)
    assert looked(runs(9, 2, 9.0), peers, floor) is None
    found = looked(runs(9, 3, 9.0), peers, floor)
    assert found is not None
    assert list(found[3]) == [0]
    assert found[2][0] > 5.0
    assert looked(runs(9, 3), peers, floor) is None


def test_too_few_peers_say_nothing_and_one_is_enough() -> None:
    floor = np.full(3, 1e-3)
    assert looked(runs(9, 4, 9.0), [Peer.of_readings(runs(2, 2))], floor) is None
    assert looked(runs(9, 4, 9.0), [], floor) is None
    one = looked(runs(9, 4, 9.0), [Peer.of_readings(runs(1, 6))], floor)
    assert one is not None
    assert one[2][0] > 5.0


def test_a_silent_sensor_hides_no_other() -> None:
    peers = [Peer.of_readings(runs(seed, 5)) for seed in range(4)]
    mine = runs(9, 4, 9.0)
    mine[:, 2] = np.nan
    found = looked(mine, peers, np.full(3, 1e-3))
    assert found is not None
    assert list(found[3]) == [0]
    assert np.isnan(found[2][2])


def test_the_chart_group_compares_and_holds_what_it_must_not_learn() -> None:
    group = ChartGroup("R", DETECTION)
    now = 0
    for n in range(5):
        for module in ("E-1/A", "E-1/B", "E-2/A", "E-2/B"):
            now += 1
            sick = 9.0 if module == "E-2/B" else 0.0
            reading = np.full(9, np.nan)
            reading[:3] = runs(1000 * n + len(module) + now, 1, sick)[0]
            reading[3:6], reading[6:] = 1.0, 0.0
            assert group.update(module, VARIABLES, reading, now) is None
            if sick:
                group.hold(module)
    verdict = group.compare("E-2/B", now)
    assert verdict is not None
    assert [shift.variable for shift in verdict.shifts] == ["a_w"]
    assert group.compare("E-1/A", now) is None
    # Held back, it never ends its warm-up, so the fault is never its normal.
    for n in range(20):
        reading = np.concatenate([runs(n, 1, 9.0)[0], np.ones(3), np.zeros(3)])
        assert group.update("E-2/B", VARIABLES, reading, now + n) is None
        group.hold("E-2/B")
    assert group.settle("E-2/B")
    assert group.compare("E-2/B", now) is None


def test_a_module_that_was_just_settled_is_no_peer_and_no_trouble() -> None:
    group = ChartGroup("R", DETECTION)
    for n in range(3):
        for module in ("E-1/A", "E-1/B", "E-2/A"):
            group.update(module, VARIABLES, np.full(9, float(n)), n)
    group.settle("E-1/B")
    assert group.compare("E-1/A", 5) is None


def test_a_few_runs_of_each_recipe_tell_what_those_of_one_cannot() -> None:
    floor = np.full(3, 1e-3)

    def recipes(shift: float, seed: int) -> list[Look]:
        # In each recipe the module was well twice, and has been off since.
        return [
            Look(
                np.vstack([runs(seed + k, 2), runs(seed + 10 + k, 2, shift)]),
                [Peer.of_readings(runs(100 * seed + 10 * k + n, 4)) for n in range(4)],
                floor,
            )
            for k in range(3)
        ]

    for seed in range(20, 30):
        looks = recipes(6.0, seed)
        together = compare(looks, LATEST)
        assert together is not None
        assert list(together.out) == [0]
        assert together.apart[0] > 4.0
        assert compare(recipes(0.0, seed), LATEST) is None
    assert (
        sum(compare([look]) is not None for seed in range(20, 30) for look in recipes(6.0, seed))
        < 10
    )
