"""Scenarios: what a fab has, what it makes, and what goes wrong when.

docs/fab.md lists every key with its unit, range and default; `fab_sim.scenario_file` reads one from
YAML. Nothing depends on a scenario's name.
"""

from typing import Annotated, Literal

import msgspec

from fab_sim.sensor_faults import FaultKind

__all__ = [
    "NEVER_DOWN",
    "Equipment",
    "Excursion",
    "Lots",
    "Product",
    "Reliability",
    "Sampling",
    "Scenario",
    "SensorFault",
    "Step",
]

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
# As `contracts.ids.check_site` has it.
SiteName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
# Below 10 dies across no pattern can be told; above 200 no product of ours has so small a die.
Side = Annotated[int, msgspec.Meta(ge=10, le=200)]
Hours = Annotated[float, msgspec.Meta(ge=0.0, le=10_000.0)]
Wafers = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Product(_Part, frozen=True, kw_only=True):
    """A product.

    Attributes:
        rows: of its die grid.
        columns: of its die grid.
        wafer_diameter_mm: 100 to 450.
        weight: how often lots of it start, relative to the other products.
        random_share: share of dies that fail for no cause, on average.
        reticle_rows: dies of one exposure, from top to bottom; a defect of the reticle repeats.
        reticle_columns: the same, from left to right.
    """

    id: Name
    rows: Side
    columns: Side
    wafer_diameter_mm: Annotated[float, msgspec.Meta(ge=100.0, le=450.0)] = 300.0
    weight: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 1.0
    random_share: Annotated[float, msgspec.Meta(ge=0.0, le=0.3)] = 0.05
    # A field is 33 mm by 26 mm at most: 4 by 3 dies of the default product.
    reticle_rows: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    reticle_columns: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3


class Step(_Part, frozen=True, kw_only=True):
    """A step of the route. `minutes` is the time of one wafer in one module.

    At `metrology`, `inspection` and `test`, and in a furnace, it is the time of the whole lot.
    """

    name: Name
    kind: str
    recipe: Name
    minutes: Annotated[float, msgspec.Meta(ge=0.5, le=600.0)] = 2.0


class Equipment(_Part, frozen=True, kw_only=True):
    """A tool, its modules, and how many carriers can be docked at it."""

    id: Name
    kind: str
    modules: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=12)]
    load_ports: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2


class Lots(_Part, frozen=True, kw_only=True):
    """Volume and pace.

    Attributes:
        wafers: in a lot.
        every_h: mean time between lot starts, hours.
        in_flight: lots on the line at most; starts wait.
        total: lots to start in all; None goes on for ever.
    """

    wafers: Annotated[int, msgspec.Meta(ge=1, le=25)] = 25
    every_h: Annotated[float, msgspec.Meta(ge=0.05, le=168.0)] = 1.0
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=400)] = 120
    total: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class Sampling(_Part, frozen=True, kw_only=True):
    """What is measured, and how late.

    Attributes:
        metrology_wafers: wafers of a lot that metrology and inspection measure.
        every_lots: of so many lots one is measured; the others pass by.
        sites: measured on each.
        trace_rows: of a trace at most; longer recipes are sampled more slowly.
        review_images: pictures of defects taken of each inspected wafer.
        test_delay_h: from the last step to electrical test.
    """

    metrology_wafers: Annotated[int, msgspec.Meta(ge=0, le=25)] = 3
    every_lots: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    sites: Annotated[int, msgspec.Meta(ge=1, le=49)] = 9
    trace_rows: Annotated[int, msgspec.Meta(ge=40, le=240)] = 240
    review_images: Annotated[int, msgspec.Meta(ge=0, le=20)] = 1
    test_delay_h: Hours = 2.0


class Reliability(_Part, frozen=True, kw_only=True):
    """How often modules go down by themselves.

    Attributes:
        pm_wafers: wafers from one planned maintenance to the next; None plans none.
        breakdown_wafers: mean number of wafers between breakdowns; None has none.
        sensor_fault_wafers: mean number of wafers of a module between faults of one of its sensors.
    """

    pm_wafers: Wafers | None = 4000
    breakdown_wafers: Wafers | None = 2500
    sensor_fault_wafers: Wafers | None = 4000


NEVER_DOWN = Reliability(pm_wafers=None, breakdown_wafers=None, sensor_fault_wafers=None)
"""Nothing ever goes down by itself."""


class Excursion(_Part, frozen=True, kw_only=True):
    """A failure mode on a module.

    Attributes:
        site: where; None at every site that runs the scenario.
        onset_wafers: it begins once so many wafers have entered the line.
        onset_h: or after so many hours. Exactly one of the two is given.
        growth: 'ramp' over `growth_wafers`, or 'step' at once.
        growth_wafers: wafers through the module from onset to full growth. The sensors are at their
            full shift half-way, where the wafers only begin to suffer.
        magnitude: 1 is the mode as docs/fab.md describes it; scales sensors and field.
        share: of the wafers through the module that suffer at full growth.
    """

    id: Name
    mode: str
    equipment: Name
    module: Name
    site: SiteName | None = None
    onset_wafers: Annotated[int, msgspec.Meta(ge=0, le=25_000_000)] | None = None
    onset_h: Hours | None = None
    growth: Literal["ramp", "step"] = "ramp"
    growth_wafers: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 16
    magnitude: Annotated[float, msgspec.Meta(gt=0.0, le=3.0)] = 1.0
    share: Share = 0.8


class SensorFault(_Part, frozen=True, kw_only=True):
    """A sensor that tells something else than the truth; the wafers are well.

    Attributes:
        variable: the sensor's name.
        kind: 'stuck' at one value, now and then a 'spike', 'dropout' (NaN), or 'quantised'.
        site: where; None at every site that runs the scenario.
        onset_h: from when.
        until_h: until when; None until the module's next maintenance.
    """

    id: Name
    equipment: Name
    module: Name
    variable: Name
    kind: FaultKind
    site: SiteName | None = None
    onset_h: Hours
    until_h: Hours | None = None


_PRODUCTS = (
    Product(id="LOGIC-7", rows=38, columns=38, random_share=0.05),
    Product(id="DRAM-4", rows=45, columns=40, random_share=0.04),
)
_EQUIPMENT = tuple(
    Equipment(id=f"{prefix}-{number:02d}", kind=kind, modules=modules)
    for prefix, kind, tools, modules in (
        ("CLEAN", "clean", 4, ("A", "B")),
        ("FURN", "diffusion", 3, ("A", "B")),
        ("DEP", "deposition", 4, ("A", "B")),
        ("LITHO", "litho", 3, ("A", "B")),
        ("ETCH", "etch", 4, ("A", "B")),
        ("IMP", "implant", 2, ("A", "B")),
        ("CMP", "cmp", 3, ("A", "B")),
        ("MET", "metrology", 3, ("A",)),
        ("INSP", "inspection", 2, ("A",)),
        ("TEST", "test", 2, ("A",)),
    )
    for number in range(1, tools + 1)
)


def _loop(layer: str, *, dep: str, metro: bool, inspect: bool, cmp: bool = True) -> list[Step]:
    """A metal level: dielectric, pattern, etch, strip clean, fill, polish, measure."""
    steps = [
        Step(name=f"DEP-{layer}", kind="deposition", recipe=f"DEP-{dep}", minutes=2.0),
        Step(name=f"LITHO-{layer}", kind="litho", recipe=f"LIT-{layer}", minutes=1.6),
        Step(name=f"ETCH-{layer}", kind="etch", recipe=f"ETC-{layer}", minutes=2.2),
        Step(name=f"STRIP-{layer}", kind="clean", recipe="CLN-STRIP", minutes=1.4),
    ]
    if cmp:
        steps.append(Step(name=f"CMP-{layer}", kind="cmp", recipe=f"CMP-{layer}", minutes=2.0))
    if metro:
        steps.append(
            Step(name=f"METRO-{layer}", kind="metrology", recipe=f"MET-{layer}", minutes=15.0)
        )
    if inspect:
        steps.append(
            Step(name=f"INSP-{layer}", kind="inspection", recipe=f"INS-{layer}", minutes=20.0)
        )
    return steps


# Isolation, gate, implants, contact and two metal levels: it comes back to the same tools.
_ROUTE = (
    Step(name="CLEAN-PRE", kind="clean", recipe="CLN-SC1", minutes=1.5),
    Step(name="OXIDE-PAD", kind="diffusion", recipe="FUR-OX1", minutes=70.0),
    *_loop("STI", dep="NIT1", metro=True, inspect=True),
    Step(name="CLEAN-GATE", kind="clean", recipe="CLN-SC1", minutes=1.5),
    Step(name="OXIDE-GATE", kind="diffusion", recipe="FUR-OX2", minutes=60.0),
    *_loop("GATE", dep="POLY1", metro=True, inspect=False, cmp=False),
    Step(name="IMPLANT-W", kind="implant", recipe="IMP-W1", minutes=1.6),
    Step(name="IMPLANT-SD", kind="implant", recipe="IMP-SD1", minutes=1.6),
    Step(name="ANNEAL-SD", kind="diffusion", recipe="FUR-ANN1", minutes=45.0),
    *_loop("M1", dep="ILD1", metro=True, inspect=True),
    *_loop("M2", dep="ILD2", metro=True, inspect=True),
    Step(name="TEST-EDS", kind="test", recipe="EDS-1", minutes=30.0),
)


class Scenario(_Part, frozen=True, kw_only=True):
    """A whole scenario; what a file leaves out is as in the default fab.

    Attributes:
        sites: where it runs, when nobody says so; empty means at the one site that is set.
        variety: 0 for a fab in which one cause always looks alike, 1 for one in which position,
            size and severity differ from wafer to wafer as in maps from many fabs.
        sporadic_share: of wafers that get a pattern by one-off mishaps anywhere on the line.
    """

    name: Name
    description: Text
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 1
    sites: Annotated[tuple[SiteName, ...], msgspec.Meta(max_length=16)] = ()
    products: Annotated[tuple[Product, ...], msgspec.Meta(min_length=1, max_length=64)] = _PRODUCTS
    equipment: Annotated[tuple[Equipment, ...], msgspec.Meta(min_length=1, max_length=200)] = (
        _EQUIPMENT
    )
    route: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=200)] = _ROUTE
    lots: Lots = Lots()
    sampling: Sampling = Sampling()
    reliability: Reliability = Reliability()
    excursions: Annotated[tuple[Excursion, ...], msgspec.Meta(max_length=200)] = ()
    sensor_faults: Annotated[tuple[SensorFault, ...], msgspec.Meta(max_length=200)] = ()
    variety: Share = 0.3
    sporadic_share: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.015

    def at(self, site: str) -> "Scenario":
        """The part of it that happens at one site."""
        return msgspec.structs.replace(
            self,
            excursions=tuple(item for item in self.excursions if item.site in (None, site)),
            sensor_faults=tuple(item for item in self.sensor_faults if item.site in (None, site)),
        )
