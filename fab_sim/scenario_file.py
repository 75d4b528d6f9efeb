"""A scenario from a YAML file, with every mistake named by file, line and key."""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import msgspec

from contracts.errors import ConfigError
from fab_sim.kinds import KINDS, TEST
from fab_sim.modes import MODES
from fab_sim.scenario import Excursion, Scenario, SensorFault
from fab_sim.yaml_file import YamlFile, read_yaml

__all__ = ["builtin_scenarios", "load_scenario"]


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
    _unique(file, "sensor_faults", tuple(fault.id for fault in scenario.sensor_faults))
    for place, site in enumerate(scenario.sites):
        if site in scenario.sites[:place]:
            raise file.error(("sites", place), f"{site!r} is there twice")
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
    for place, fault in enumerate(scenario.sensor_faults):
        _check_sensor_fault(file, scenario, place, fault)


def _check_excursion(file: YamlFile, scenario: Scenario, place: int, excursion: Excursion) -> None:
    here = ("excursions", place)
    mode = MODES.get(excursion.mode)
    if mode is None:
        raise file.error((*here, "mode"), _one_of(excursion.mode, MODES))
    kind = _kind_of(file, scenario, here, excursion)
    if kind not in mode.kinds:
        raise file.error(
            (*here, "mode"),
            f"{excursion.mode} happens on {', '.join(mode.kinds)}, {excursion.equipment} is {kind}",
        )
    if (excursion.onset_wafers is None) == (excursion.onset_h is None):
        raise file.error(here, "needs exactly one of onset_wafers and onset_h")


def _check_sensor_fault(file: YamlFile, scenario: Scenario, place: int, fault: SensorFault) -> None:
    here = ("sensor_faults", place)
    kind = _kind_of(file, scenario, here, fault)
    sensors = [variable.name for variable in KINDS[kind].variables]
    if fault.variable not in sensors:
        raise file.error((*here, "variable"), _one_of(fault.variable, sensors))
    if fault.until_h is not None and fault.until_h <= fault.onset_h:
        raise file.error((*here, "until_h"), "must be later than onset_h")


def _kind_of(
    file: YamlFile, scenario: Scenario, here: tuple[str, int], item: Excursion | SensorFault
) -> str:
    """Kind of the module that `item` names, which has to be one of the fab's."""
    tool = next((tool for tool in scenario.equipment if tool.id == item.equipment), None)
    if tool is None:
        raise file.error((*here, "equipment"), f"there is no equipment {item.equipment!r}")
    if item.module not in tool.modules:
        raise file.error(
            (*here, "module"),
            f"{tool.id} has no module {item.module!r}: {', '.join(tool.modules)}",
        )
    if item.site is not None and scenario.sites and item.site not in scenario.sites:
        raise file.error((*here, "site"), _one_of(item.site, scenario.sites))
    return tool.kind


def _unique(file: YamlFile, section: str, ids: tuple[str, ...]) -> None:
    for place, name in enumerate(ids):
        if name in ids[:place]:
            raise file.error((section, place, "id"), f"{name!r} is there twice")


def _one_of(given: str, known: Iterable[str]) -> str:
    return f"{given!r} is none of {', '.join(sorted(known))}"
