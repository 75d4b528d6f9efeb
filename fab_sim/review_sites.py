"""Which defects a cause leaves on a wafer, and where a reviewer finds them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from fab_sim.fields import disc, field
from fab_sim.maps import Hit
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.scenario import Product

__all__ = ["DEFECT_KINDS", "DefectKind", "ReviewSite", "defects_of", "review_sites"]

DefectKind = Literal["particle", "scratch", "bridge", "open", "residue", "void", "pattern_collapse"]
DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)
"""Every kind of defect, in the order reviewers' lists have them."""

Mix = tuple[tuple[DefectKind, float], ...]

# What a failure mode leaves, by share. The readings are the usual ones of defect libraries,
# simplified; docs/fab.md has the reasons.
_LEFT_BY: dict[str, Mix] = {
    "rf_match_drift": (("residue", 0.45), ("bridge", 0.4), ("open", 0.15)),
    "helium_chuck_leak": (("bridge", 0.4), ("residue", 0.35), ("pattern_collapse", 0.25)),
    "edge_ring_wear": (("open", 0.55), ("bridge", 0.45)),
    "process_abort": (("residue", 0.6), ("bridge", 0.4)),
    "showerhead_clogging": (("void", 0.6), ("particle", 0.4)),
    "gas_flow_offset": (("void", 0.85), ("residue", 0.15)),
    "particle_burst": (("particle", 1.0),),
    "robot_blade_scratch": (("scratch", 0.8), ("particle", 0.2)),
    "dispense_fault": (("open", 0.4), ("pattern_collapse", 0.3), ("residue", 0.3)),
    "focus_drift": (("bridge", 0.4), ("pattern_collapse", 0.35), ("open", 0.25)),
    "head_zone_wear": (("residue", 0.55), ("bridge", 0.45)),
    "slurry_scratch": (("scratch", 0.8), ("particle", 0.2)),
    "bath_dilution": (("residue", 0.75), ("particle", 0.25)),
    # A missing dose cannot be seen: what reviewers find there is what they find anywhere.
    "beam_dropout": (("particle", 1.0),),
}
# What modes leave that the table above does not know, by the kind of module they happen on.
_LEFT_BY_KIND: dict[str, Mix] = {
    "litho": (("bridge", 0.4), ("open", 0.3), ("pattern_collapse", 0.3)),
    "etch": (("residue", 0.5), ("bridge", 0.3), ("open", 0.2)),
    "deposition": (("void", 0.6), ("particle", 0.4)),
    "diffusion": (("particle", 0.6), ("void", 0.4)),
    "cmp": (("residue", 0.5), ("scratch", 0.3), ("particle", 0.2)),
    "clean": (("residue", 0.6), ("particle", 0.4)),
}
# On any wafer: what falls on it, dries on it or touches it.
_NUISANCE: Mix = (("particle", 0.8), ("residue", 0.14), ("scratch", 0.06))
# Nuisance defects that an inspection reports, against the dies; at full strength most causes
# have far more, a scratch as many.
_NUISANCE_A_DIE = 0.02
# Reviewed places end here, beside the bevel, in radii.
_EDGE = 0.995


class ReviewSite(NamedTuple):
    """A place that is reviewed.

    Attributes:
        x_mm: from the wafer's centre, to the right.
        y_mm: from the wafer's centre, upwards: the notch, at the bottom, is at -radius.
        kind: what is there.
        mode: the failure mode that left it, '' for a nuisance. The truth; never on the log.
    """

    x_mm: float
    y_mm: float
    kind: DefectKind
    mode: str


def defects_of(mode: str) -> Mix:
    """The kinds of defect that a failure mode leaves, with their shares, which sum to 1.

    A mode that has no row of its own has what its kind of module usually leaves.

    >>> defects_of("particle_burst")
    (('particle', 1.0),)
    """
    if mode in _LEFT_BY:
        return _LEFT_BY[mode]
    known = MODES.get(mode)
    if known is None:
        return _NUISANCE
    if known.family == "scratch":
        return (("scratch", 0.8), ("particle", 0.2))
    for kind in known.kinds:
        if kind in _LEFT_BY_KIND:
            return _LEFT_BY_KIND[kind]
    return _NUISANCE


def review_sites(
    hits: Sequence[Hit],
    product: Product,
    wafer_diameter_mm: float,
    sites: int,
    random: np.random.Generator,
    *,
    variety: float = 0.3,
) -> list[ReviewSite]:
    """The places of a wafer that are reviewed, a sample of its defects.

    A wafer's defects lie where its causes' fields are strong, and everywhere a few that mean
    nothing. The sample is drawn from all of them alike, so a wafer without a cause gives only
    nuisances.

    Args:
        hits: what happened to the wafer.
        product: its die grid.
        wafer_diameter_mm: of the wafer.
        sites: how many places.
        random: the review's own stream.
        variety: see `Scenario.variety`.
    """
    wafer = disc(product.rows, product.columns)
    densities = [np.full(len(wafer.r), _NUISANCE_A_DIE)]
    mixes: list[tuple[str, Mix]] = [("", _NUISANCE)]
    for hit in hits:
        cause = generator("cause", hit.cause)
        densities.append(field(MODES[hit.mode].family, wafer, hit.strength, cause, random, variety))
        mixes.append((hit.mode, defects_of(hit.mode)))
    # By source, then by die: (sources * dies,) shares that add up.
    total = np.cumsum(np.concatenate(densities))
    radius = 0.5 * wafer_diameter_mm
    found = []
    for _ in range(sites):
        drawn = int(np.searchsorted(total, random.random() * total[-1], side="right"))
        source, die = divmod(min(drawn, len(total) - 1), len(wafer.r))
        x = wafer.x[die] + float(random.uniform(-1.0, 1.0)) / product.columns
        y = wafer.y[die] + float(random.uniform(-1.0, 1.0)) / product.rows
        # A die at the edge reaches over it; a defect does not.
        inwards = radius * min(1.0, _EDGE / max(float(np.hypot(x, y)), 1e-9))
        mode, mix = mixes[source]
        found.append(
            ReviewSite(
                round(float(x) * inwards, 4),
                round(-float(y) * inwards, 4),
                _one_of(mix, random),
                mode,
            )
        )
    return found


def _one_of(mix: Mix, random: np.random.Generator) -> DefectKind:
    drawn = float(random.random())
    for kind, share in mix:
        drawn -= share
        if drawn < 0.0:
            return kind
    return mix[-1][0]
