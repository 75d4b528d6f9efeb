"""Scenarios: what a fab has, what it makes, and what goes wrong when. One YAML file each.

docs/fab.md lists every key with its unit, range and default. Nothing depends on a scenario's name.
"""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from contracts.errors import ConfigError
from fab_sim.kinds import KINDS, TEST
from fab_sim.modes import MODES
from fab_sim.yaml_file import YamlFile, read_yaml

__all__ = [
    "Equipment",
    "Excursion",
    "Lots",
    "Product",
    "Sampling",
    "Scenario",
    "Step",
    "builtin_scenarios",
    "load_scenario",
]

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
# Below 10 dies across no pattern can be told; above 200 no product of ours has so small a die.
Side = Annotated[int, msgspec.Meta(ge=10, le=200)]
Hours = Annotated[float, msgspec.Meta(ge=0.0, le=10_000.0)]


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

    At `metrology` and `test` it is the time of the whole lot.
    """

    name: Name
    kind: str
    recipe: Name
    minutes: Annotated[float, msgspec.Meta(ge=0.5, le=600.0)] = 2.0


class Equipment(_Part, frozen=True, kw_only=True):
    """A tool and its modules."""

    id: Name
    kind: str
    modules: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=12)]


class Lots(_Part, frozen=True, kw_only=True):
    """Volume and pace.

    Attributes:
        wafers: in a lot.
        every_h: mean time between lot starts, hours.
        in_flight: lots on the line at most; starts wait.
        total: lots to start in all; None goes on for ever.
    """

    wafers: Annotated[int, msgspec.Meta(ge=1, le=25)] = 25
    every_h: Annotated[float, msgspec.Meta(ge=0.05, le=168.0)] = 0.8
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=200)] = 16
    total: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class Sampling(_Part, frozen=True, kw_only=True):
    """What is measured, and how late.

    Attributes:
        metrology_wafers: wafers of a lot that metrology measures.
        sites: measured on each.
        test_delay_h: from the last step to electrical test.
    """

    metrology_wafers: Annotated[int, msgspec.Meta(ge=0, le=25)] = 3
    sites: Annotated[int, msgspec.Meta(ge=1, le=49)] = 9
    test_delay_h: Hours = 2.0


class Excursion(_Part, frozen=True, kw_only=True):
    """A failure mode on a module.

    Attributes:
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
    onset_wafers: Annotated[int, msgspec.Meta(ge=0, le=25_000_000)] | None = None
    onset_h: Hours | None = None
    growth: Literal["ramp", "step"] = "ramp"
    growth_wafers: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 16
    magnitude: Annotated[float, msgspec.Meta(gt=0.0, le=3.0)] = 1.0
    share: Share = 0.8


_PRODUCTS = (
    Product(id="LOGIC-7", rows=38, columns=38, random_share=0.05),
    Product(id="DRAM-4", rows=45, columns=40, random_share=0.04),
)
_EQUIPMENT = tuple(
    Equipment(id=f"{prefix}-{number:02d}", kind=kind, modules=modules)
    for prefix, kind, modules in (
        ("CLEAN", "clean", ("A", "B")),
        ("DEP", "deposition", ("A", "B")),
        ("LITHO", "litho", ("A", "B")),
        ("ETCH", "etch", ("A", "B")),
        ("IMP", "implant", ("A", "B")),
        ("CMP", "cmp", ("A", "B")),
        ("MET", "metrology", ("A",)),
        ("TEST", "test", ("A",)),
    )
    for number in (1, 2)
)
_ROUTE = (
    Step(name="CLEAN-PRE", kind="clean", recipe="CLN-SC1", minutes=1.5),
    Step(name="DEP-ILD", kind="deposition", recipe="DEP-ILD1", minutes=2.0),
    Step(name="LITHO-M1", kind="litho", recipe="LIT-M1", minutes=1.5),
    Step(name="ETCH-M1", kind="etch", recipe="ETC-M1", minutes=2.2),
    Step(name="IMPLANT-W", kind="implant", recipe="IMP-W1", minutes=1.5),
    Step(name="CMP-M1", kind="cmp", recipe="CMP-M1", minutes=2.0),
    Step(name="METRO-M1", kind="metrology", recipe="MET-M1", minutes=15.0),
    Step(name="TEST-EDS", kind="test", recipe="EDS-1", minutes=30.0),
)


class Scenario(_Part, frozen=True, kw_only=True):
    """A whole scenario; what a file leaves out is as in the default fab.

    Attributes:
        variety: 0 for a fab in which one cause always looks alike, 1 for one in which position,
            size and severity differ from wafer to wafer as in maps from many fabs.
        sporadic_share: of wafers that get a pattern by one-off mishaps anywhere on the line.
    """

    name: Name
    description: Text
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 1
    products: Annotated[tuple[Product, ...], msgspec.Meta(min_length=1, max_length=64)] = _PRODUCTS
    equipment: Annotated[tuple[Equipment, ...], msgspec.Meta(min_length=1, max_length=200)] = (
        _EQUIPMENT
    )
    route: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=200)] = _ROUTE
    lots: Lots = Lots()
    sampling: Sampling = Sampling()
    excursions: Annotated[tuple[Excursion, ...], msgspec.Meta(max_length=200)] = ()
    variety: Share = 0.3
    sporadic_share: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.015


def builtin_scenarios() -> dict[str, str]:
    """Name and description of every scenario that comes with the package, sorted by name."""
    names = sorted(
        item.name.removesuffix(".yaml")
        for item in files("fab_sim").joinpath("scenarios").iterdir()
        if item.name.endswith(".yaml")
    )
    return {name: load_scenario(name).description for name in names}


def load_scenario(path_or_name: str | Path) -> Scenario:
    """The scenario in a file, or a built-in one by its name.

    Raises:
        ConfigError: there is no such scenario, or it is wrong; names file, line and key.
    """
    path = Path(path_or_name)
    if not path.suffix and not path.exists():
        folder = Path(str(files("fab_sim").joinpath("scenarios")))
        built_in = sorted(item.stem for item in folder.glob("*.yaml"))
        if str(path_or_name) not in built_in:
            raise ConfigError(
                f"there is no scenario {str(path_or_name)!r}: give the path of a YAML file or"
                f" one of {', '.join(built_in)}"
            )
        path = folder / f"{path_or_name}.yaml"
    file = read_yaml(path)
    if not isinstance(file.data, dict):
        raise file.error((), "a scenario is a mapping with at least 'name' and 'description'")
    try:
        scenario = msgspec.convert(file.data, Scenario)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `")
        where = YamlFile.path_of(place.rstrip("`"))
        unknown = re.match(r"Object contains unknown field `(.*)`$", problem)
        if unknown:
            raise file.error(
                (*where, unknown[1]), "is not a key that scenarios have; docs/fab.md lists them"
            ) from error
        raise file.error(where, problem) from error
    _check(file, scenario)
    return scenario


def _check(file: YamlFile, scenario: Scenario) -> None:
    """What a type alone cannot say."""
    _unique(file, "products", tuple(product.id for product in scenario.products))
    _unique(file, "equipment", tuple(tool.id for tool in scenario.equipment))
    _unique(file, "excursions", tuple(excursion.id for excursion in scenario.excursions))
    for place, product in enumerate(scenario.products):
        if not 0.4 <= product.rows / product.columns <= 2.5:
            raise file.error(
                ("products", place, "columns"), "rows and columns differ by more than 2.5 times"
            )
    for place, tool in enumerate(scenario.equipment):
        if tool.kind not in KINDS:
            raise file.error(("equipment", place, "kind"), _one_of(tool.kind, KINDS))
        if len(set(tool.modules)) != len(tool.modules):
            raise file.error(("equipment", place, "modules"), "names a module twice")
    owned = {tool.kind for tool in scenario.equipment}
    for place, step in enumerate(scenario.route):
        if step.kind not in KINDS:
            raise file.error(("route", place, "kind"), _one_of(step.kind, KINDS))
        if step.kind not in owned:
            raise file.error(("route", place, "kind"), f"there is no equipment for {step.kind!r}")
        if (step.kind == TEST) != (place == len(scenario.route) - 1):
            raise file.error(("route", place, "kind"), "'test' is the last step, and only the last")
    for place, excursion in enumerate(scenario.excursions):
        _check_excursion(file, scenario, place, excursion)


def _check_excursion(file: YamlFile, scenario: Scenario, place: int, excursion: Excursion) -> None:
    here = ("excursions", place)
    mode = MODES.get(excursion.mode)
    if mode is None:
        raise file.error((*here, "mode"), _one_of(excursion.mode, MODES))
    tool = next((tool for tool in scenario.equipment if tool.id == excursion.equipment), None)
    if tool is None:
        raise file.error((*here, "equipment"), f"there is no equipment {excursion.equipment!r}")
    if excursion.module not in tool.modules:
        raise file.error(
            (*here, "module"), f"{tool.id} has no module {excursion.module!r}: {tool.modules}"
        )
    if tool.kind not in mode.kinds:
        raise file.error(
            (*here, "mode"), f"{excursion.mode} happens on {mode.kinds}, {tool.id} is {tool.kind}"
        )
    if (excursion.onset_wafers is None) == (excursion.onset_h is None):
        raise file.error(here, "needs exactly one of onset_wafers and onset_h")


def _unique(file: YamlFile, section: str, ids: tuple[str, ...]) -> None:
    for place, name in enumerate(ids):
        if name in ids[:place]:
            raise file.error((section, place, "id"), f"{name!r} is there twice")


def _one_of(given: str, known: Iterable[str]) -> str:
    return f"{given!r} is none of {', '.join(sorted(known))}"
