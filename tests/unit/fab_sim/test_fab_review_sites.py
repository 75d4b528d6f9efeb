"""Where a reviewer finds defects, and what kind they are."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from fab_sim.fields import disc, field
from fab_sim.maps import Hit
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.review_sites import DEFECT_KINDS, ReviewSite, defects_of, review_sites
from fab_sim.scenario import Product

PRODUCT = Product(id="P", rows=38, columns=38)
DIAMETER_MM = 300.0


def sites(*hits: Hit, number: int = 400, seed: int = 0) -> list[ReviewSite]:
    return review_sites(
        hits, PRODUCT, DIAMETER_MM, number, generator("test", "sites", seed), variety=0.0
    )


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_leaves_known_kinds_of_defect(mode: str) -> None:
    mix = defects_of(mode)
    assert sum(share for _, share in mix) == pytest.approx(1.0)
    assert {kind for kind, _ in mix} <= set(DEFECT_KINDS)


def test_every_kind_of_defect_is_left_by_some_mode() -> None:
    assert {kind for mode in MODES for kind, _ in defects_of(mode)} == set(DEFECT_KINDS)


@pytest.mark.parametrize("module_kind", ["litho", "etch", "deposition", "cmp", "clean", "furnace"])
@pytest.mark.parametrize("family", ["disc", "scratch"])
def test_a_mode_that_is_new_leaves_what_its_kind_of_module_leaves(
    module_kind: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = msgspec.structs.replace(MODES["rf_match_drift"], kinds=(module_kind,), family=family)
    monkeypatch.setitem(MODES, "something_new", new)
    mix = defects_of("something_new")
    assert sum(share for _, share in mix) == pytest.approx(1.0)
    assert (mix[0][0] == "scratch") == (family == "scratch")


def test_a_mode_nobody_knows_leaves_nuisances() -> None:
    assert defects_of("no such mode")[0][0] == "particle"


def test_a_wafer_without_a_cause_has_mostly_nuisance_particles_all_over() -> None:
    found = sites()
    kinds = Counter(site.kind for site in found)
    assert kinds["particle"] > 0.7 * len(found)
    assert {site.mode for site in found} == {""}
    assert abs(np.mean([site.x_mm for site in found])) < 15.0
    assert abs(np.mean([site.y_mm for site in found])) < 15.0


@pytest.mark.parametrize("mode", sorted(MODES))
def test_defects_lie_inside_the_wafer_where_the_field_is_strong(mode: str) -> None:
    hit = Hit(mode, 1.0, "a cause", 0)
    found = sites(hit)
    assert all(np.hypot(site.x_mm, site.y_mm) < 0.5 * DIAMETER_MM for site in found)
    own = [site for site in found if site.mode == mode]
    assert len(own) > 0.15 * len(found)
    assert {site.kind for site in own} <= {kind for kind, _ in defects_of(mode)}
    wafer = disc(PRODUCT.rows, PRODUCT.columns)
    kill = field(
        MODES[mode].family, wafer, 1.0, generator("cause", "a cause"), generator("own"), 0.0
    )
    where = [
        kill[np.hypot(wafer.x - s.x_mm / 150.0, wafer.y + s.y_mm / 150.0).argmin()] for s in own
    ]
    # Drawn by the field, so where it is twice as strong there are twice as many.
    assert np.mean(where) == pytest.approx((kill**2).sum() / kill.sum(), rel=0.15)


def test_a_weak_cause_has_fewer_of_the_defects() -> None:
    strong = sum(site.mode != "" for site in sites(Hit("helium_chuck_leak", 1.0, "c", 0)))
    weak = sum(site.mode != "" for site in sites(Hit("helium_chuck_leak", 0.1, "c", 0)))
    assert weak < strong


def test_two_causes_both_leave_theirs() -> None:
    found = sites(Hit("helium_chuck_leak", 1.0, "c", 0), Hit("slurry_scratch", 1.0, "d", 0))
    assert {site.mode for site in found} == {"", "helium_chuck_leak", "slurry_scratch"}


def test_one_stream_gives_the_same_places() -> None:
    hit = Hit("particle_burst", 0.8, "c", 0)
    assert sites(hit, seed=1) == sites(hit, seed=1)
    assert sites(hit, seed=1) != sites(hit, seed=2)
    assert sites(hit, number=0) == []
